/* The exit record: written under another name and renamed, so that whoever finds it finds it whole. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "shim.h"

/* <directory of the process>/<process id>.exit */
static int record_path(const struct process *process, char *path, size_t size, const char *suffix) {
  int length = process_directory(process, path, size);
  if (length < 0) return -1;
  int more = snprintf(path + length, size - (size_t) length, "/%s.exit%s", process->id, suffix);
  return more < 0 || (size_t) (length + more) >= size ? -1 : 0;
}

/* Returns 0 or an errno. */
int record_write(const struct process *process) {
  const struct ending *ending = &process->ending;
  char temporary[4096];
  char path[4096];
  char text[512];
  char kills[24] = "null";
  if (record_path(process, temporary, sizeof temporary, ".tmp") < 0 || record_path(process, path, sizeof path, "") < 0) return ENAMETOOLONG;
  if (ending->oom_known) (void) snprintf(kills, sizeof kills, "%llu", (unsigned long long) ending->oom_kills);
  /* A process id needs no escaping: its grammar has no character that does (requests.c sees to it). */
  int length = snprintf(text, sizeof text, "{\"processId\":\"%s\",\"pid\":%d,\"waitStatus\":%d,\"exitedAtNs\":\"%lld\",\"oomKills\":%s,\"outputComplete\":%s,\"started\":%s}\n",
    process->id, (int) ending->pid, ending->wait_status, (long long) ending->time_ns, kills, ending->output_complete ? "true" : "false", ending->started ? "true" : "false");
  int file = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (file < 0) return errno;
  ssize_t written;
  do written = write(file, text, (size_t) length); while (written < 0 && errno == EINTR);
  int error = written == length ? 0 : written < 0 ? errno : ENOSPC;
  if (close(file) < 0 && error == 0) error = errno;
  failpoint(process == processes ? "exit" : "exec-exit", "written");
  if (error == 0 && rename(temporary, path) < 0) error = errno;
  return error;
}

/* Makes the record last over a power cut; only needed while no daemon has taken it over. */
void record_sync(const struct process *process) {
  char path[4096];
  if (record_path(process, path, sizeof path, "") < 0) return;
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file >= 0) {
    (void) fsync(file);
    close(file);
  }
  if (process_directory(process, path, sizeof path) < 0) return;
  int directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory >= 0) {
    (void) fsync(directory);
    close(directory);
  }
}
