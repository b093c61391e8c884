/* The memory group's count of OOM kills: memory.events on cgroup v2, memory.oom_control on v1 (field oom_kill, Linux 4.13). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "shim.h"

static int counter = -1;

/* The path of init's group in /proc/PID/cgroup (cgroups(7)): "N:…,memory,…:PATH", or "0::PATH" on v2. */
static const char *group_path(char *text) {
  for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
    char *controllers = strchr(line, ':');
    if (controllers == NULL) continue;
    char *path = strchr(++controllers, ':');
    if (path == NULL) continue;
    *path++ = '\0';
    if (options.memory_v2) {
      if (*controllers == '\0') return path;
      continue;
    }
    for (char *rest = controllers, *name; (name = strsep(&rest, ",")) != NULL;) {
      if (strcmp(name, "memory") == 0) return path;
    }
  }
  return NULL;
}

void oom_open(pid_t init) {
  char file[4096];
  char text[4096];
  if (options.memory_mount == NULL) return;
  (void) snprintf(file, sizeof file, "/proc/%d/cgroup", (int) init);
  if (read_file(file, text, sizeof text) <= 0) return;
  const char *path = group_path(text);
  if (path == NULL) return;
  int length = snprintf(file, sizeof file, "%s%s/%s", options.memory_mount, path, options.memory_v2 ? "memory.events" : "memory.oom_control");
  if (length < 0 || (size_t) length >= sizeof file) return;
  counter = open(file, O_RDONLY | O_CLOEXEC);
}

bool oom_count(uint64_t *count) {
  char text[1024];
  if (counter < 0) return false;
  ssize_t length = pread(counter, text, sizeof text - 1, 0);
  if (length <= 0) return false;
  text[length] = '\0';
  /* v2 has oom_kill and oom_group_kill, v1 oom_kill_disable too: the name must begin a line and end with the blank */
  for (char *line = text; line != NULL; line = strchr(line, '\n')) {
    if (*line == '\n') line++;
    if (strncmp(line, "oom_kill ", 9) == 0) {
      *count = strtoull(line + 9, NULL, 10);
      return true;
    }
  }
  return false;
}
