/* The log's framing: whatever is written, in whatever pieces, on a disk that takes all of it, a part, or nothing, each segment on disk is
 * whole records, named by the offset of its first byte, and every byte of output is in a record or counted as lost. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static ssize_t disk_writev(int fd, const struct iovec *parts, int count);
static int disk_ftruncate(int fd, off_t length);
#define writev disk_writev
#define ftruncate disk_ftruncate
#include "log.c"
#undef writev
#undef ftruncate

struct options options;
int64_t now_ns(void) { return 5; }
int process_directory(const struct process *process, char *path, size_t size) {
  (void) process;
  return snprintf(path, size, ".");
}

static unsigned room;   /* of the next write: 255 is all */
static bool stuck;      /* nothing can be cut off again */
static uint64_t kept;   /* output in records */
static uint64_t told;   /* of what was lost, in records */
static bool torn;

static ssize_t disk_writev(int fd, const struct iovec *parts, int count) {
  size_t whole = parts[0].iov_len + parts[1].iov_len;
  size_t some = room == 255 ? whole : room * whole / 255;
  if (some == 0) {
    errno = ENOSPC;
    return -1;
  }
  if (some == whole) {
    const struct record_header *header = parts[0].iov_base;
    if (header->stream == STREAM_LOST) {
      int64_t lost;
      memcpy(&lost, parts[1].iov_base, sizeof lost);
      told += (uint64_t) lost;
    } else kept += parts[1].iov_len;
    return writev(fd, parts, count);
  }
  struct iovec less[2] = { parts[0], parts[1] };
  if (some < less[0].iov_len) { less[0].iov_len = some; less[1].iov_len = 0; } else less[1].iov_len = some - less[0].iov_len;
  return writev(fd, less, 2);
}

static int disk_ftruncate(int fd, off_t length) {
  if (!stuck) return ftruncate(fd, length);
  torn = true;
  errno = EIO;
  return -1;
}

/* Whole records to the end of the file, or to where a disk that could not cut it off again has torn one. */
static void check_segment(uint64_t start, uint64_t next) {
  static char text[64 * 1024];
  char name[64];
  (void) snprintf(name, sizeof name, "output-%020llu.log", (unsigned long long) start);
  int length = read_file(name, text, sizeof text);
  if (length < 0) abort();
  size_t at = 0;
  while (at + sizeof(struct record_header) <= (size_t) length) {
    struct record_header header;
    memcpy(&header, text + at, sizeof header);
    if (header.stream != STREAM_STDOUT && header.stream != STREAM_STDERR && header.stream != STREAM_LOST) abort();
    if (at + sizeof header + header.length > (size_t) length) break;
    at += sizeof header + header.length;
  }
  if (at != (size_t) length && !torn) abort();
  if (start + (uint64_t) length != next) abort();
}

int read_file(const char *path, char *text, size_t size) {
  FILE *file = fopen(path, "re");
  if (file == NULL) return -1;
  size_t length = fread(text, 1, size - 1, file);
  (void) fclose(file);
  return (int) length;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static struct process process;
  static char bytes[300];
  static bool there;
  if (!there) {
    char directory[] = "/dev/shm/longshore-fuzz-XXXXXX";
    if (mkdtemp(directory) == NULL || chdir(directory) < 0) abort();
    there = true;
  }
  options = (struct options) { .log_bytes = 200, .log_segments = 3 };
  process = (struct process) { .used = true, .log = { .segment = -1 } };
  kept = told = 0;
  torn = false;
  uint64_t given = 0;
  for (size_t at = 0; at + 3 <= size; at += 3) {
    struct log *log = &process.log;
    size_t length = data[at + 1];
    stuck = (data[at] & 2) != 0;
    room = (data[at] & 4) != 0 ? data[at + 2] : 255;
    log_write(&process, (data[at] & 1) != 0 ? STREAM_STDOUT : STREAM_STDERR, bytes, length);
    given += length;
    if (kept + (uint64_t) log->lost != given || told + (uint64_t) log->lost_untold != (uint64_t) log->lost) abort();
    if (log->kept > options.log_segments) abort();
    for (unsigned i = 0; i < log->kept; i++) check_segment(log->starts[i], i + 1 < log->kept ? log->starts[i + 1] : log->offset);
  }
  room = 255;
  log_finish(&process);
  if (told != (uint64_t) process.log.lost) abort();
  if (process.log.segment >= 0) close(process.log.segment);
  for (unsigned i = 0; i < process.log.kept; i++) {
    char name[64];
    (void) snprintf(name, sizeof name, "output-%020llu.log", (unsigned long long) process.log.starts[i]);
    (void) unlink(name);
  }
  return 0;
}
