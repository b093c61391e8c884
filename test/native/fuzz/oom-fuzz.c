/* What the kernel's files say: /proc/PID/cgroup, and the group's count of OOM kills. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>

#include "oom.c"

struct options options;
int read_file(const char *path, char *text, size_t size) { (void) path; (void) text; (void) size; return -1; }

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static char text[4096];
  if (size >= sizeof text) return 0;
  memcpy(text, data, size);
  text[size] = '\0';
  options = (struct options) { .memory_mount = "/sys/fs/cgroup", .memory_v2 = size % 2 == 0 };
  const char *path = group_path(text);
  if (path != NULL && (path < text || path > text + size)) abort();
  if (counter < 0) counter = memfd_create("oom", MFD_CLOEXEC);
  if (ftruncate(counter, 0) < 0 || pwrite(counter, data, size, 0) < 0) abort();
  uint64_t count;
  (void) oom_count(&count);
  return 0;
}
