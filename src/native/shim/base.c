#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "shim.h"

int64_t now_ns(void) {
  struct timespec time;
  if (clock_gettime(CLOCK_REALTIME, &time) < 0) return 0;
  return (int64_t) time.tv_sec * 1000000000 + time.tv_nsec;
}

int64_t monotonic_ns(void) {
  struct timespec time;
  if (clock_gettime(CLOCK_MONOTONIC, &time) < 0) return 0;
  return (int64_t) time.tv_sec * 1000000000 + time.tv_nsec;
}

int read_file(const char *path, char *text, size_t size) {
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return -1;
  ssize_t length = read(file, text, size - 1);
  close(file);
  if (length >= 0) text[length] = '\0';
  return (int) length;
}

_Noreturn void die(int status, const char *what) {
  (void) dprintf(2, "longshore-shim: %s%s%s\n", what, errno == 0 ? "" : ": ", errno == 0 ? "" : strerror(errno));
  exit(status);
}
