// event-readers SOCKET COUNT SLOW QUERY: opens COUNT + SLOW event streams; the slow ones read their first bytes and then nothing.
// Prints `ready`. For each line `EVENTS` on stdin it waits until the others have taken so many in all from then on, and prints
// `done MILLISECONDS P50 P99`: the last two are microseconds from the time (CLOCK_MONOTONIC, ns) in `"t":"…"` of what was read.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
static void die(const char *what) {
  perror(what);
  exit(1);
}
static int compare(const void *a, const void *b) {
  const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

enum { kSamples = 1 << 20 };
static uint64_t samples[kSamples];
static char buffer[1 << 20];
// How much of the end of an event, `}` and two line feeds, a descriptor has seen last.
static char ends[1 << 16];

int main(int argc, char **argv) {
  if (argc < 5) return 2;
  const int count = atoi(argv[2]), slow = atoi(argv[3]), all = count + slow;
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
  }
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strncpy(address.sun_path, argv[1], sizeof address.sun_path - 1);
  char request[512];
  const int length = snprintf(request, sizeof request, "GET /events?%s HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n", argv[4]);
  const int set = epoll_create1(EPOLL_CLOEXEC);
  for (int i = 0; i < all; i++) {
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) die("socket");
    while (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
      if (errno != EAGAIN) die("connect");
      usleep(1000);
    }
    if (write(fd, request, (size_t)length) != length) die("write");
    // The answer's head and the first cursor: a reader counts from there on.
    size_t have = 0;
    do {
      const ssize_t got = read(fd, buffer + have, sizeof buffer - have - 1);
      if (got <= 0) die("read");
      have += (size_t)got;
      buffer[have] = 0;
    } while (strstr(buffer, "id: ") == NULL);
    if (i >= count) continue;
    (void)fcntl(fd, F_SETFL, O_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) < 0) die("epoll_ctl");
  }
  printf("ready\n");
  fflush(stdout);
  char line[64];
  while (fgets(line, sizeof line, stdin) != NULL) {
    const uint64_t wanted = strtoull(line, NULL, 10), began = now();
    uint64_t taken = 0;
    size_t sampled = 0;
    while (taken < wanted) {
      struct epoll_event events[256];
      const int ready = epoll_wait(set, events, 256, 60000);
      if (ready <= 0) die("epoll_wait");
      for (int i = 0; i < ready; i++) {
        const ssize_t got = read(events[i].data.fd, buffer, sizeof buffer);
        if (got <= 0) die("a stream ended");
        const uint64_t at = now();
        char end = ends[events[i].data.fd];
        for (ssize_t k = 0; k < got; k++) {
          end = buffer[k] == '}' ? 1 : buffer[k] == '\n' && end > 0 ? (char)(end + 1) : 0;
          if (end == 3) taken++;
        }
        ends[events[i].data.fd] = end;
        const char *mark = memmem(buffer, (size_t)got, "\"t\":\"", 5);
        if (mark != NULL && sampled < kSamples && mark + 30 < buffer + got) samples[sampled++] = (at - strtoull(mark + 5, NULL, 10)) / 1000;
      }
    }
    qsort(samples, sampled, sizeof *samples, compare);
    printf("done %.3f %llu %llu\n", (double)(now() - began) / 1e6, sampled == 0 ? 0ull : (unsigned long long)samples[sampled / 2], sampled == 0 ? 0ull : (unsigned long long)samples[sampled * 99 / 100]);
    fflush(stdout);
  }
  return 0;
}
