// exit-reader LONGSHORE_SOCKET QUERY FLOOR_SOCKET: one reader of both. Prints `ready`. For each line `longshore PID` or `floor PID`
// on stdin it kills that process, waits for the StateExit on that connection, and prints the microseconds that it took, and
// the pid that was told.
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static char buffer[1 << 16];

static uint64_t now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void die(const char *what) {
  perror(what);
  exit(1);
}

static int open_socket(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  strncpy(address.sun_path, path, sizeof address.sun_path - 1);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0) die(path);
  return fd;
}

// Reads until a block has ended that has this text in it.
static void read_until(int fd, const char *text) {
  size_t have = 0;
  for (;;) {
    const ssize_t got = read(fd, buffer + have, sizeof buffer - have - 1);
    if (got <= 0) die("a stream ended");
    have += (size_t)got;
    buffer[have] = 0;
    const char *found = strstr(buffer, text);
    if (found != NULL && strstr(found, "\n\n") != NULL) return;
    if (have > sizeof buffer / 2) have = 0;
  }
}

int main(int argc, char **argv) {
  char line[256];
  if (argc != 4) return 2;
  const int longshore = open_socket(argv[1]), bare = open_socket(argv[3]);
  const int length = snprintf(line, sizeof line, "GET /events?%s HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n", argv[2]);
  if (write(longshore, line, (size_t)length) != length) die("write");
  read_until(longshore, "id: ");
  printf("ready\n");
  fflush(stdout);
  while (fgets(line, sizeof line, stdin) != NULL) {
    char *blank = strchr(line, ' ');
    if (blank == NULL) return 2;
    const pid_t pid = atoi(blank + 1);
    const int fd = *line == 'l' ? longshore : bare;
    const uint64_t began = now();
    if (kill(pid, SIGKILL) < 0) die("kill");
    read_until(fd, "event: StateExit");
    const uint64_t ended = now();
    const char *told = strstr(strstr(buffer, "event: StateExit"), "\"pid\":");
    printf("%llu %d\n", (unsigned long long)(ended - began) / 1000, told == NULL ? 0 : atoi(told + 6));
    fflush(stdout);
  }
  return 0;
}
