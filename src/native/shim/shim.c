/* longshore-shim: one for each run of a container. It runs the OCI runtime, keeps the output of the container's processes,
 * reaps them, writes each exit down and tells the daemon; it goes on when the daemon ends, and tells again when one comes back. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shim.h"

enum { LISTENER = 4, REST_AFTER_MS = 1000 };
/* Until an exit that no daemon has acknowledged is made to last. */
static const int64_t last_after_ns = INT64_C(1000000000);

static int epoll = -1;
static int signals = -1;
static bool quit;
static bool restless = true; /* something has happened since memory was given back */
static int64_t last_at_ns; /* of the monotonic clock; 0: every exit lasts */
static int terms;
static struct process *const init = processes;

/* On pages of its own, so that they can be given back. */
_Alignas(4096) char buffer[MOST_PAYLOAD];

static bool set_watch(int how, int fd, enum source source, const struct process *process, uint32_t events) {
  struct epoll_event event = { .events = events, .data.u32 = (uint32_t) source | slot_of(process) << 8 };
  return epoll_ctl(epoll, how, fd, &event) == 0;
}

void watch(int fd, enum source source, const struct process *process, uint32_t events) {
  if (!set_watch(EPOLL_CTL_ADD, fd, source, process, events)) die(SYSTEM_ERROR, "epoll_ctl");
}

void rewatch(int fd, enum source source, const struct process *process, uint32_t events) {
  if (!set_watch(EPOLL_CTL_MOD, fd, source, process, events)) die(SYSTEM_ERROR, "epoll_ctl");
}

void unwatch(int fd) {
  (void) epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL); /* fails only for one that is not in the set */
}

static void on_signal(void) {
  struct signalfd_siginfo info;
  while (read(signals, &info, sizeof info) == sizeof info) {
    if (info.ssi_signo == SIGCHLD) continue;
    /* An orderly stop from outside, such as the host's shutdown: the container is asked, then made, to end. */
    terms++;
    if (init->pid > 0 && !init->reaped) (void) kill(init->pid, terms > 1 ? SIGKILL : SIGTERM); /* not reaped, so the pid is its own */
  }
  reap();
}

void may_quit(void) {
  if (init->pid > 0 && !init->reaped) return;
  for (unsigned slot = 0; slot < slots_used; slot++) {
    if (processes[slot].used && processes[slot].call.pid != 0) return;
  }
  quit = true;
}

static void on_listener(void) {
  if (!connection_accept(LISTENER)) return;
  failpoint("connect", "accepted");
  watch(connection, FROM_CONNECTION, init, EPOLLIN);
  tell_hello();
  failpoint("connect", "greeted");
}

static void set_up(void) {
  sigset_t mask;
  umask(077);
  if (setsid() < 0 && errno != EPERM) die(SYSTEM_ERROR, "setsid");
  if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0) die(SYSTEM_ERROR, "prctl");
  if (signal(SIGPIPE, SIG_IGN) == SIG_ERR || signal(SIGHUP, SIG_IGN) == SIG_ERR) die(SYSTEM_ERROR, "signal");
  sigemptyset(&mask);
  sigaddset(&mask, SIGCHLD);
  sigaddset(&mask, SIGTERM);
  sigaddset(&mask, SIGINT);
  if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0) die(SYSTEM_ERROR, "sigprocmask");
  signals = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
  epoll = epoll_create1(EPOLL_CLOEXEC);
  if (signals < 0 || epoll < 0) die(SYSTEM_ERROR, "signalfd or epoll");
  if (fcntl(connection, F_SETFD, FD_CLOEXEC) < 0 || fcntl(LISTENER, F_SETFD, FD_CLOEXEC) < 0) die(SYSTEM_ERROR, "descriptors 3 and 4 must be sockets");
  if (fcntl(LISTENER, F_SETFL, O_NONBLOCK) < 0) die(SYSTEM_ERROR, "fcntl");
  /* Again, after the daemon's: SO_PEERCRED of whoever connects is then the shim's. */
  if (listen(LISTENER, 4) < 0) die(SYSTEM_ERROR, "listen");
  process_begin(init, "init", options.terminal, options.window);
  watch(signals, FROM_SIGNAL, init, EPOLLIN);
  watch(LISTENER, FROM_LISTENER, init, EPOLLIN);
  watch(connection, FROM_CONNECTION, init, EPOLLIN);
}

/* What a daemon has acknowledged is in its journal. */
static bool must_last(const struct process *process) {
  return process->used && process->reaped && !process->acknowledged && (!process->recorded || !process->synced);
}

/* Of two numbers of milliseconds; -1 is never. */
static int sooner(int one, int other) {
  return other < 0 || (one >= 0 && one < other) ? one : other;
}

/* Milliseconds until make_last() is due, or -1. A moment and not a silence: other processes may never be silent. */
static int last_patience(void) {
  bool any = false;
  for (unsigned slot = 0; slot < slots_used; slot++) any = any || must_last(&processes[slot]);
  if (!any) last_at_ns = 0;
  else if (last_at_ns == 0) last_at_ns = monotonic_ns() + last_after_ns;
  if (last_at_ns == 0) return -1;
  int64_t left = last_at_ns - monotonic_ns();
  return left <= 0 ? 0 : (int) (left / 1000000 + 1);
}

/* Milliseconds until there is something to do unasked, or -1: exits must be made lasting, a start is overdue, or it is time to rest. */
static int patience(void) {
  return sooner(restless ? REST_AFTER_MS : -1, sooner(last_patience(), start_patience()));
}

static void make_last(void) {
  last_at_ns = 0;
  for (unsigned slot = 0; slot < slots_used; slot++) {
    struct process *process = &processes[slot];
    if (!must_last(process)) continue;
    if (!process->recorded) process->recorded = record_write(process) == 0;
    if (!process->recorded) continue;
    log_sync(process);
    record_sync(process);
    process->synced = true;
  }
}

/* One whose directory was removed has no place for a record, and nobody who would look for it. */
static bool is_homeless(const struct process *process) {
  char path[4096];
  return process_directory(process, path, sizeof path) >= 0 && access(path, F_OK) < 0 && errno == ENOENT;
}

static bool all_recorded(void) {
  for (unsigned slot = 0; slot < slots_used; slot++) {
    const struct process *process = &processes[slot];
    if (process->used && !process->recorded && !process->acknowledged && !is_homeless(process)) return false;
  }
  return true;
}

static void on_output(struct process *process, int stream, uint32_t events) {
  if ((events & EPOLLOUT) != 0) input_write(process);
  /* One piece for each word of epoll, which tells again while there is more: no read(2) in vain, and every stream has its turn. */
  (void) drain(process, stream, 1);
  maybe_free(process);
}

static void on_event(const struct epoll_event *event) {
  struct process *process = &processes[event->data.u32 >> 8];
  switch ((enum source) (event->data.u32 & 0xff)) {
    case FROM_SIGNAL: on_signal(); break;
    case FROM_LISTENER: on_listener(); break;
    case FROM_CONNECTION: on_connection(); break;
    case FROM_STDOUT: on_output(process, STREAM_STDOUT, event->events); break;
    case FROM_STDERR: on_output(process, STREAM_STDERR, event->events); break;
    case FROM_CONSOLE: console_accept(process); break;
    case FROM_STDIN: input_write(process); break;
    case FROM_START: on_start(); break;
  }
}

int main(int argc, char **argv) {
  errno = 0;
  parse_args(argc, argv);
  set_up();
  failpoint("shim", "begun");
  tell_hello();
  failpoint("shim", "greeted");
  create();
  while (!quit) {
    struct epoll_event events[8];
    int count = epoll_wait(epoll, events, 8, patience());
    if (count < 0 && errno != EINTR) die(SYSTEM_ERROR, "epoll_wait");
    if (last_at_ns != 0 && monotonic_ns() >= last_at_ns) make_last();
    if (count == 0) give_back();
    restless = count != 0;
    start_overdue();
    for (int i = 0; i < count; i++) {
      /* One of them may have freed the slot of another. */
      if (processes[events[i].data.u32 >> 8].used) on_event(&events[i]);
    }
    /* Asked to stop, the container ended, and no daemon there to tell: what is on disk must do. */
    if (terms > 0 && connection < 0 && init->reaped && all_recorded()) {
      make_last();
      quit = true;
    }
  }
  return 0;
}
