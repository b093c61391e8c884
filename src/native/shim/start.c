/* The start of what runc has created, without a call of runc: its init waits in open(2) of `exec.fifo` in the runtime's state
 * directory, for writing. Whoever opens that for reading lets it go on: it writes one byte, runs its startContainer hooks, and its
 * execve(2) closes the descriptor. `runc start` reads until then and removes the file, and that is all it does
 * (libcontainer/container_linux.go, Exec; standard_init_linux.go). Later versions of runc (pull request 5186) run poststart hooks
 * there too: the daemon names no fifo for a container that has some. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shim.h"

/* Until a writer must have come; else it may be another runtime by that name, and its own start knows better. */
static const int64_t patience_ns = INT64_C(1000000000);

static int fifo = -1;
static bool heard; /* the byte has come */
static uint32_t asked;
static int64_t deadline_ns; /* INT64_MAX: a writer has come */

enum word { GONE_ON, WRITER, NOBODY };

bool start_pending(void) {
  return fifo >= 0;
}

uint32_t start_tag(void) {
  return fifo >= 0 ? asked : 0;
}

static enum word listen_to_fifo(void) {
  char bytes[16];
  ssize_t length;
  do {
    length = read(fifo, bytes, sizeof bytes);
    if (length > 0) heard = true;
  } while (length > 0 || (length < 0 && errno == EINTR));
  if (length < 0 && errno == EAGAIN) return WRITER;
  /* There is no writer (fifo(7)): not any more, or none has come yet. */
  return heard ? GONE_ON : NOBODY;
}

static void close_fifo(void) {
  close(fifo);
  fifo = -1;
}

static void done(void) {
  /* One that stays says that init still waits; the daemon looks for it. */
  failpoint("start", "heard");
  (void) unlink(options.start_fifo);
  failpoint("start", "done");
  close_fifo();
  start_settled(asked, 0);
}

void start_give_up(void) {
  close_fifo();
  start_by_runtime(asked);
}

bool start_begin(const struct process *init, uint32_t tag) {
  struct stat about;
  if (options.start_fifo == NULL || init->state != STATE_CREATED) return false;
  fifo = open(options.start_fifo, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
  if (fifo < 0) return false;
  if (fstat(fifo, &about) < 0 || !S_ISFIFO(about.st_mode)) {
    close_fifo();
    return false;
  }
  failpoint("start", "opened");
  heard = false;
  asked = tag;
  deadline_ns = monotonic_ns() + patience_ns;
  watch(fifo, FROM_START, init, EPOLLIN);
  return true;
}

void on_start(void) {
  if (fifo < 0) return;
  enum word word = listen_to_fifo();
  if (word == GONE_ON) done();
  else if (word == NOBODY) start_give_up(); /* a writer that came is gone, and has said nothing */
}

void start_init_ended(void) {
  if (fifo < 0) return;
  (void) listen_to_fifo();
  if (heard) done();
}

void start_abort(void) {
  if (fifo < 0) return;
  close_fifo();
  start_settled(asked, SIGKILL);
}

int start_patience(void) {
  if (fifo < 0 || deadline_ns == INT64_MAX) return -1;
  int64_t left = deadline_ns - monotonic_ns();
  return left <= 0 ? 0 : (int) (left / 1000000 + 1);
}

void start_overdue(void) {
  if (fifo < 0 || deadline_ns == INT64_MAX || monotonic_ns() < deadline_ns) return;
  switch (listen_to_fifo()) {
    case GONE_ON: done(); break;
    case NOBODY: start_give_up(); break;
    /* To go away now would be its end; a limit for it all is the daemon's. */
    case WRITER: deadline_ns = INT64_MAX; break;
  }
}
