/* The exit record: written under another name and renamed, so that whoever finds it finds it whole. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "shim.h"

static int record_path(char *path, size_t size, const char *suffix) {
  int length = snprintf(path, size, "%s/init.exit%s", options.out, suffix);
  return length < 0 || (size_t) length >= size ? -1 : 0;
}

/* Returns 0 or an errno. */
int record_write(const struct ending *ending) {
  char temporary[4096];
  char path[4096];
  char text[256];
  char kills[24] = "null";
  if (record_path(temporary, sizeof temporary, ".tmp") < 0 || record_path(path, sizeof path, "") < 0) return ENAMETOOLONG;
  if (ending->oom_known) (void) snprintf(kills, sizeof kills, "%llu", (unsigned long long) ending->oom_kills);
  int length = snprintf(text, sizeof text, "{\"processId\":\"init\",\"pid\":%d,\"waitStatus\":%d,\"exitedAtNs\":\"%lld\",\"oomKills\":%s,\"outputComplete\":%s,\"started\":%s}\n",
    (int) ending->pid, ending->wait_status, (long long) ending->time_ns, kills, ending->output_complete ? "true" : "false", ending->started ? "true" : "false");
  int file = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (file < 0) return errno;
  ssize_t written;
  do written = write(file, text, (size_t) length); while (written < 0 && errno == EINTR);
  int error = written == length ? 0 : written < 0 ? errno : ENOSPC;
  if (close(file) < 0 && error == 0) error = errno;
  if (error == 0 && rename(temporary, path) < 0) error = errno;
  return error;
}

/* Makes the record last over a power cut; only needed while no daemon has taken it over. */
void record_sync(void) {
  char path[4096];
  if (record_path(path, sizeof path, "") < 0) return;
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file >= 0) {
    (void) fsync(file);
    close(file);
  }
  int directory = open(options.out, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory >= 0) {
    (void) fsync(directory);
    close(directory);
  }
}
