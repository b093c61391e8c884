// exit-teller SOCKET: the floor of a tale of exits. Lines on stdin, `PID NAME`: waits for the end of that process by a pidfd
// (pidfd_open(2)) and then writes one line of about the length of an event, which begins with NAME, to everyone who has
// connected to SOCKET. Prints `ready`, then `ready` for each line when it waits for that process, and `joined` for each reader. No reader may be slow.
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

enum { most = 65536, name_length = 80 };

static int readers[most];
static int reader_count;
// by descriptor: whose end it tells of; empty for a reader
static char names[most][name_length];
static int set;

static void die(const char *what) {
  perror(what);
  exit(1);
}

static void add(int fd) {
  struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
  if (fd < 0 || fd >= most || epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) < 0) die("a descriptor");
}

static void drop(int fd) {
  for (int i = 0; i < reader_count; i++) {
    if (readers[i] == fd) readers[i] = readers[--reader_count];
  }
  if (close(fd) < 0) die("close");
}

static void tell(const char *name) {
  char frame[512];
  memset(frame, '.', sizeof frame);
  const int length = snprintf(frame, sizeof frame, "%s %380s\n", name, "");
  for (int i = reader_count; i-- > 0;) {
    if (send(readers[i], frame, (size_t)length, MSG_NOSIGNAL) != length) drop(readers[i]);
  }
}

static void say(const char *word) {
  if (printf("%s\n", word) < 0 || fflush(stdout) != 0) die("stdout");
}

// Whole lines at a time; a piece of one is kept for the next time.
static void take(void) {
  static char text[1 << 16];
  static size_t have;
  const ssize_t got = read(0, text + have, sizeof text - have - 1);
  if (got <= 0) exit(0);
  have += (size_t)got;
  text[have] = 0;
  char *line = text;
  for (char *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
    int pid;
    char name[name_length];
    *end = 0;
    if (sscanf(line, "%d %79s", &pid, name) != 2) continue;
    const int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0) {
      // It has ended already, and was waited for.
      tell(name);
    } else {
      add(fd);
      strcpy(names[fd], name);
    }
    say("ready");
  }
  have = strlen(line);
  memmove(text, line, have + 1);
}

int main(int argc, char **argv) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (argc != 2 || strlen(argv[1]) >= sizeof address.sun_path) return 2;
  strcpy(address.sun_path, argv[1]);
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) < 0) die("getrlimit");
  limit.rlim_cur = limit.rlim_max;
  if (setrlimit(RLIMIT_NOFILE, &limit) < 0) die("setrlimit");
  const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 4096) < 0) die(argv[1]);
  if ((set = epoll_create1(EPOLL_CLOEXEC)) < 0) die("epoll_create1");
  add(0);
  add(listener);
  say("ready");
  for (;;) {
    struct epoll_event events[64];
    const int count = epoll_wait(set, events, 64, -1);
    if (count < 0 && errno != EINTR) die("epoll_wait");
    for (int i = 0; i < count; i++) {
      const int fd = events[i].data.fd;
      if (fd == 0) {
        take();
      } else if (fd == listener) {
        const int reader = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        add(reader);
        readers[reader_count++] = reader;
        say("joined");
      } else if (names[fd][0] != 0) {
        tell(names[fd]);
        names[fd][0] = 0;
        if (close(fd) < 0) die("close");
      } else {
        // Readers say nothing: this one has gone.
        drop(fd);
      }
    }
  }
}
