/* What the parts of the shim share. The shim serves one run of one container and never allocates. */
#ifndef LONGSHORE_SHIM_H
#define LONGSHORE_SHIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "protocol.h"

enum { STREAM_STDOUT = 1, STREAM_STDERR = 2, STREAM_LOST = 255 };

/* args.c: what the daemon asked for; everything points into argv. */
struct options {
  const char *id;
  const char *bundle;
  const char *out;
  bool terminal;
  bool no_pivot;
  uint64_t log_bytes;
  unsigned log_segments;
  const char *memory_mount;
  bool memory_v2;
  char **runtime; /* the runtime and its global arguments, ends with NULL */
  int runtime_count;
};
extern struct options options;
void parse_args(int argc, char **argv);

/* log.c: the bounded log of the container's output, in segments in the --out directory. */
extern int64_t log_lost;
void log_write(int stream, const char *bytes, size_t length);
void log_sync(void);

/* runtime.c: one call of the OCI runtime at a time. */
struct call {
  pid_t pid; /* 0: none under way */
  int op;
  uint32_t tag;
};
extern struct call call;
/* Starts the runtime for an op; returns 0 or an errno. out and err become its standard output and error. */
int runtime_start(int op, uint32_t tag, int out, int err);
void runtime_abort(void);
int runtime_error_file(void);

/* record.c: what is known of init's end, on disk. */
struct ending {
  pid_t pid;
  int wait_status;
  int64_t time_ns;
  bool oom_known;
  uint64_t oom_kills;
  bool output_complete;
  bool started;
};
int record_write(const struct ending *ending);
void record_sync(void);

/* oom.c: the count of OOM kills of the container's memory group. */
void oom_open(pid_t init);
bool oom_count(uint64_t *count);

/* connection.c */
extern int connection; /* -1: no daemon is there */
void connection_drop(void);
/* Sends a packet, with a pidfd of the process unless that is 0. Never waits: a daemon that does not read is dropped, and asks again when it is back. */
void connection_send(struct shim_packet *packet, pid_t process);
/* Takes the newest peer in place of the one before; false when it is not of this user. */
bool connection_accept(int listener);

/* base.c */
int64_t now_ns(void);
int read_file(const char *path, char *buffer, size_t size);
/* The last words of a shim that cannot do its work: to standard error, then exit with this status. */
_Noreturn void die(int status, const char *what);

#endif
