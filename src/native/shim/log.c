/* Output is kept in segments named by the offset of their first byte, so that a reader follows by offset over rotations:
 *
 *   <out>/output-<offset>.log                           init's
 *   <out>/processes/<process id>/output-<offset>.log    that of a process executed later
 *
 * Each read(2) of a pipe or terminal becomes one record: a header of 16 bytes (struct record_header) and the bytes as
 * they came. A record never crosses segments. Stream 255 says in 8 bytes how many bytes of output could not be written
 * at this place. At most --log-segments segments are kept for a process; a new one begins at --log-bytes. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "shim.h"

struct record_header {
  uint64_t time_ns;
  uint32_t length;
  uint8_t stream;
  uint8_t zero[3];
};
_Static_assert(sizeof(struct record_header) == LOG_HEADER, "readers of the log expect 16 bytes");

static bool segment_name(const struct process *process, char *path, size_t size, uint64_t start) {
  int length = process_directory(process, path, size);
  if (length < 0) return false;
  int more = snprintf(path + length, size - (size_t) length, "/output-%020llu.log", (unsigned long long) start);
  return more > 0 && (size_t) (length + more) < size;
}

static bool open_segment(struct process *process) {
  struct log *log = &process->log;
  char path[4096];
  if (log->segment >= 0 && log->offset - log->segment_start < options.log_bytes) return true;
  int next = segment_name(process, path, sizeof path, log->offset) ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600) : -1;
  /* Without a new segment the old one grows rather than losing what it could still take. */
  if (next < 0) return log->segment >= 0;
  if (log->segment >= 0) close(log->segment);
  log->segment = next;
  log->segment_start = log->offset;
  if (log->kept == options.log_segments) {
    if (segment_name(process, path, sizeof path, log->starts[0])) (void) unlink(path); /* one that is gone already is as good */
    memmove(log->starts, log->starts + 1, (log->kept - 1) * sizeof log->starts[0]);
    log->kept--;
  }
  log->starts[log->kept++] = log->offset;
  return true;
}

/* All or nothing: a torn record is cut off again, so that readers never meet one. */
static bool append(struct process *process, uint8_t stream, const char *bytes, size_t length) {
  struct log *log = &process->log;
  if (!open_segment(process)) return false;
  struct record_header header = { .time_ns = (uint64_t) now_ns(), .length = (uint32_t) length, .stream = stream };
  struct iovec parts[2] = { { &header, sizeof header }, { (void *) bytes, length } };
  size_t whole = sizeof header + length;
  ssize_t written;
  do written = writev(log->segment, parts, 2); while (written < 0 && errno == EINTR);
  if (written == (ssize_t) whole) {
    log->offset += whole;
    return true;
  }
  if (written > 0 && ftruncate(log->segment, (off_t) (log->offset - log->segment_start)) < 0) {
    /* The torn record stays at the end of this segment: begin another behind it. */
    log->offset += (uint64_t) written;
    close(log->segment);
    log->segment = -1;
  }
  return false;
}

void log_write(struct process *process, int stream, const char *bytes, size_t length) {
  struct log *log = &process->log;
  if (log->lost_untold > 0 && append(process, STREAM_LOST, (const char *) &log->lost_untold, sizeof log->lost_untold)) log->lost_untold = 0;
  if (log->lost_untold == 0 && append(process, (uint8_t) stream, bytes, length)) return;
  log->lost_untold += (int64_t) length;
  log->lost += (int64_t) length;
}

/* No more output comes that could bring what was lost before it into the log. */
void log_finish(struct process *process) {
  struct log *log = &process->log;
  if (log->lost_untold > 0 && append(process, STREAM_LOST, (const char *) &log->lost_untold, sizeof log->lost_untold)) log->lost_untold = 0;
}

void log_sync(const struct process *process) {
  if (process->log.segment >= 0) (void) fsync(process->log.segment); /* a disk that cannot is no reason to stop */
}
