/* Output is kept in segments named by the offset of their first byte, so that a reader follows by offset over rotations.
 * Each read(2) of a pipe becomes one record: a header of 16 bytes and the bytes as they came. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "shim.h"

enum { MOST_SEGMENTS = 16 };

struct record_header {
  uint64_t time_ns;
  uint32_t length;
  uint8_t stream;
  uint8_t zero[3];
};
_Static_assert(sizeof(struct record_header) == 16, "readers of the log expect 16 bytes");

int64_t log_lost;
static int64_t lost_untold;
static int segment = -1;
static uint64_t offset;        /* of the next byte, over all segments */
static uint64_t segment_start;
static uint64_t starts[MOST_SEGMENTS];
static unsigned kept;

static void segment_name(char *path, size_t size, uint64_t start) {
  int length = snprintf(path, size, "%s/output-%020llu.log", options.out, (unsigned long long) start);
  if (length < 0 || (size_t) length >= size) die(111, "the path of the log is too long");
}

static bool open_segment(void) {
  char path[4096];
  if (segment >= 0 && offset - segment_start < options.log_bytes) return true;
  segment_name(path, sizeof path, offset);
  int next = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
  /* Without a new segment the old one grows rather than losing what it could still take. */
  if (next < 0) return segment >= 0;
  if (segment >= 0) close(segment);
  segment = next;
  segment_start = offset;
  if (kept == options.log_segments) {
    segment_name(path, sizeof path, starts[0]);
    (void) unlink(path); /* one that is gone already is as good */
    memmove(starts, starts + 1, (kept - 1) * sizeof starts[0]);
    kept--;
  }
  starts[kept++] = offset;
  return true;
}

/* All or nothing: a torn record is cut off again, so that readers never meet one. */
static bool append(uint8_t stream, const char *bytes, size_t length) {
  if (!open_segment()) return false;
  struct record_header header = { .time_ns = (uint64_t) now_ns(), .length = (uint32_t) length, .stream = stream };
  struct iovec parts[2] = { { &header, sizeof header }, { (void *) bytes, length } };
  size_t whole = sizeof header + length;
  ssize_t written;
  do written = writev(segment, parts, 2); while (written < 0 && errno == EINTR);
  if (written == (ssize_t) whole) {
    offset += whole;
    return true;
  }
  if (written > 0 && ftruncate(segment, (off_t) (offset - segment_start)) < 0) {
    /* The torn record stays at the end of this segment: begin another behind it. */
    offset += (uint64_t) written;
    close(segment);
    segment = -1;
  }
  return false;
}

void log_write(int stream, const char *bytes, size_t length) {
  if (lost_untold > 0 && append(STREAM_LOST, (const char *) &lost_untold, sizeof lost_untold)) lost_untold = 0;
  if (lost_untold == 0 && append((uint8_t) stream, bytes, length)) return;
  lost_untold += (int64_t) length;
  log_lost += (int64_t) length;
}

void log_sync(void) {
  if (segment >= 0) (void) fsync(segment); /* a disk that cannot is no reason to stop */
}
