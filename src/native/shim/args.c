#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "shim.h"

enum { USAGE = 100 };

struct options options = { .window = { 80, 24 }, .log_bytes = 4 * 1024 * 1024, .log_segments = 4 };

static uint64_t number(const char *text, uint64_t low, uint64_t high) {
  char *end = NULL;
  errno = 0;
  unsigned long long value = strtoull(text, &end, 10);
  if (errno != 0 || end == text || *end != '\0' || value < low || value > high) die(USAGE, "a number is out of range");
  return value;
}

void parse_args(int argc, char **argv) {
  int i = 1;
  for (; i < argc && strcmp(argv[i], "--") != 0; i++) {
    const char *name = argv[i];
    if (strcmp(name, "--terminal") == 0) { options.terminal = true; continue; }
    if (strcmp(name, "--no-pivot") == 0) { options.no_pivot = true; continue; }
    if (strcmp(name, "--restore") == 0) { options.restore = true; continue; }
    if (i + 1 >= argc) die(USAGE, "an option lacks its value");
    const char *value = argv[++i];
    if (strcmp(name, "--id") == 0) options.id = value;
    else if (strcmp(name, "--bundle") == 0) options.bundle = value;
    else if (strcmp(name, "--extra") == 0) {
      if (options.extra_count == MOST_EXTRA) die(USAGE, "too many extra arguments");
      options.extra[options.extra_count++] = value;
    }
    else if (strcmp(name, "--out") == 0) options.out = value;
    else if (strcmp(name, "--log-bytes") == 0) options.log_bytes = number(value, 4096, UINT64_C(1) << 40);
    else if (strcmp(name, "--log-segments") == 0) options.log_segments = (unsigned) number(value, 1, 16);
    else if (strcmp(name, "--width") == 0) options.window.width = (uint16_t) number(value, 1, UINT16_MAX);
    else if (strcmp(name, "--height") == 0) options.window.height = (uint16_t) number(value, 1, UINT16_MAX);
    else if (strcmp(name, "--cgroup1-memory") == 0) options.memory_mount = value;
    else if (strcmp(name, "--start-fifo") == 0) options.start_fifo = value;
    else if (strcmp(name, "--cgroup2") == 0) { options.memory_mount = value; options.memory_v2 = true; }
    else die(USAGE, "unknown option");
  }
  if (i + 1 >= argc || options.id == NULL || options.bundle == NULL || options.out == NULL) {
    die(USAGE, "usage: longshore-shim --id ID --bundle DIR --out DIR [--terminal] [--width N] [--height N] [--no-pivot] [--restore [--extra ARGUMENT...]] [--log-bytes N] [--log-segments N] [--cgroup1-memory DIR | --cgroup2 DIR] [--start-fifo PATH] -- RUNTIME [GLOBAL ARGUMENT...]");
  }
  options.runtime = argv + i + 1;
  options.runtime_count = argc - i - 1;
}
