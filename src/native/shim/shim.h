/* What the parts of the shim share. The shim serves one run of one container and never allocates: what may be needed for
 * a process lies in static memory, whose pages cost nothing until they are touched. */
#ifndef LONGSHORE_SHIM_H
#define LONGSHORE_SHIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "protocol.h"

enum { STREAM_STDOUT = 1, STREAM_STDERR = 2, STREAM_LOST = 255 };
enum { SYSTEM_ERROR = 111, MOST_SEGMENTS = 16, MOST_EXTRA = 16 };

/* args.c: what the daemon asked for; everything points into argv. */
struct options {
  const char *id;
  const char *bundle;
  const char *out;
  bool terminal;
  bool no_pivot;
  bool restore; /* init comes out of a checkpoint and runs at once, in place of the runtime's create */
  const char *extra[MOST_EXTRA]; /* arguments of that */
  int extra_count;
  struct window window;
  uint64_t log_bytes;
  unsigned log_segments;
  const char *memory_mount;
  bool memory_v2;
  const char *start_fifo; /* of a runtime whose start can be done without it (start.c), else NULL */
  char **runtime; /* the runtime and its global arguments, ends with NULL */
  int runtime_count;
};
extern struct options options;
void parse_args(int argc, char **argv);

enum { LOG_HEADER = 16 }; /* bytes before each record of a log */

/* log.c: the bounded log of a process's output. */
struct log {
  int segment;            /* -1: none is open */
  unsigned kept;
  uint64_t offset;        /* of the next byte, over all segments */
  uint64_t segment_start;
  uint64_t starts[MOST_SEGMENTS];
  int64_t lost;
  int64_t lost_untold;
};

/* runtime.c: a call of the OCI runtime that is under way. */
struct call {
  pid_t pid; /* 0: none */
  int op;
  uint32_t tag;
};

/* record.c: what is known of a process's end, on disk. */
struct ending {
  pid_t pid;
  int wait_status;
  int64_t time_ns;
  bool oom_known;
  uint64_t oom_kills;
  bool output_complete;
  bool started;
};

/* input.c: one piece of input, until all of it is written. */
struct input {
  uint32_t tag;
  uint16_t length;
  uint16_t done;
  int error;     /* of the last piece: a connection that comes back asks for it again */
  bool pending;
  bool closing;  /* close when the piece is written */
  bool closed;
  bool watched;
};

struct follow {
  bool armed;
  uint32_t tag;
  uint64_t offset;
};

/* A slot: init, or a process that was executed beside it. */
struct process {
  bool used;
  bool terminal;
  bool settled;  /* the call of the runtime that makes it has ended: its streams can only close from now on */
  bool started;
  bool reaped;
  bool recorded;
  bool synced;
  bool acknowledged;
  char id[MOST_ID + 1];
  enum shim_state state;
  pid_t pid;     /* 0: not known */
  struct window window;
  struct call call;
  int console;   /* listens for the terminal's master */
  int output[3]; /* reading ends, by stream; a terminal's master is that of stdout */
  int inner[3];  /* the process's ends, by descriptor, until the runtime's call has ended */
  int stdin_end; /* writing end */
  uint64_t oom_before;
  struct log log;
  struct follow follow;
  struct input input;
  struct ending ending;
};
extern struct process processes[SLOTS];
extern unsigned slots_used; /* none is in use from this one on */

/* process.c */
unsigned slot_of(const struct process *process);
void process_begin(struct process *process, const char *id, bool terminal, struct window window);
/* Gives all back that a slot holds. */
void process_free(struct process *process);
bool output_ended(const struct process *process);
enum { DRAIN_LIMIT = 1024 * 1024 }; /* bytes that are taken of a stream at its process's end */
/* Moves what the process wrote into its log; false once the stream has ended. */
bool drain(struct process *process, int stream, size_t limit);
/* Returns 0 or an errno. */
int open_streams(struct process *process, bool with_input);
void close_inner(struct process *process);
/* The directory of its log and exit record. */
int process_directory(const struct process *process, char *path, size_t size);

/* console.c: the terminal's master comes over a socket (OCI runtime command line, --console-socket). */
int console_open(struct process *process);
void console_accept(struct process *process);
void console_close(struct process *process);
void console_resize(const struct process *process, struct window window);
void console_name(const struct process *process, char *name, size_t size);

void log_write(struct process *process, int stream, const char *bytes, size_t length);
void log_finish(struct process *process);
void log_sync(const struct process *process);

void input_take(struct process *process, uint32_t tag, const char *bytes, size_t length);
void input_write(struct process *process);
void input_close(struct process *process);
/* Whatever is pending cannot be written any more. */
void input_end(struct process *process);

void follow_ask(struct process *process, uint32_t tag, uint64_t offset);
void follow_look(struct process *process);

/* Starts the runtime for an op; returns 0 or an errno. The streams are its standard input, output and error, -1 for /dev/null. */
int runtime_start(struct process *process, int op, uint32_t tag, const int streams[3]);
void runtime_abort(const struct process *process);
int runtime_error_file(const struct process *process);
void runtime_pid_file(const struct process *process, char *name, size_t size);

int record_write(const struct process *process);
void record_sync(const struct process *process);

/* oom.c: the count of OOM kills of the container's memory group. */
void oom_open(pid_t init);
bool oom_count(uint64_t *count);

/* connection.c */
extern int connection; /* -1: no daemon is there */
void connection_drop(void);
/* Sends a packet of a slot (NULL: of one that there is not), with a pidfd unless that process is 0. Never waits: a daemon that does not read is dropped, and asks again when it is back. */
void connection_send(const struct process *process, struct shim_packet *packet, pid_t pidfd_of, const char *payload, size_t length);
/* Takes the newest peer in place of the one before; false when it is not of this user. */
bool connection_accept(int listener);

/* requests.c */
void on_connection(void);

/* start.c: init is let go without a call of the runtime. At most one start is under way. */
/* False when the runtime has to do it. */
bool start_begin(const struct process *init, uint32_t tag);
bool start_pending(void);
uint32_t start_tag(void);
void on_start(void);
/* Init has ended: what it said before still counts. */
void start_init_ended(void);
/* The runtime has to do it after all. */
void start_give_up(void);
void start_abort(void);
/* Milliseconds until start_overdue() has something to do, or -1. */
int start_patience(void);
void start_overdue(void);

/* tell.c */
void tell_hello(void);
void tell_ending(const struct process *process);
/* Of an op: as wait(2) gave the runtime's end, or an errno. */
void tell_result(const struct process *process, int op, uint32_t tag, int wait_status, int error);

/* The result of an op of init, if it was the last one that had this tag. */
bool tell_again(uint32_t tag);

/* ops.c */
void create(void);
void start_op(int op, uint32_t tag);
/* A start has come to its end, with the wait status that a runtime would have had. */
void start_settled(uint32_t tag, int wait_status);
/* Lets the runtime do what start.c could not. */
void start_by_runtime(uint32_t tag);
void exec_begin(struct process *process, const struct shim_packet *packet, const char *id, struct window window);
/* Runs the runtime that is to make the process; 0 or an errno. */
int make(struct process *process, int op, uint32_t tag, bool with_input);
/* The runtime that was to make a process has ended: true with the pid in it when it did. */
bool made(struct process *process, int status);
void call_ended(struct process *process, int status);

/* ends.c */
void reap(void);
void child_ended(pid_t pid, int status);
/* A process may have been reaped before its pid was known. */
bool ended_early(pid_t pid);
void find_early_end(struct process *process);
/* Those of before a process begins to be made are not its own. */
void forget_early_ends(void);
void acknowledge(struct process *process);
void maybe_free(struct process *process);
void free_slot(struct process *process);

/* rest.c: gives memory back that only work needs; the buffer's bytes are gone after it. */
void give_back(void);

/* shim.c */
void may_quit(void);
enum source { FROM_SIGNAL, FROM_LISTENER, FROM_CONNECTION, FROM_STDOUT, FROM_STDERR, FROM_CONSOLE, FROM_STDIN, FROM_START };
void watch(int fd, enum source source, const struct process *process, uint32_t events);
void rewatch(int fd, enum source source, const struct process *process, uint32_t events);
void unwatch(int fd);
enum { PIECE = 64 * 1024 };
extern char piece[PIECE]; /* of output; whole pages, since they are given back */
extern char buffer[MOST_PAYLOAD]; /* for what is read and used at once */

/* test/native/failpoint.c: where tests let the shim end. Of this nothing is in the shim that is shipped. */
#ifdef FAILPOINTS
void failpoint(const char *where, const char *step);
void failpoint_of(int op, const char *step);
#else
#define failpoint(where, step) ((void) 0)
#define failpoint_of(op, step) ((void) 0)
#endif

/* base.c */
int64_t now_ns(void);
int64_t monotonic_ns(void);
int read_file(const char *path, char *text, size_t size);
/* The last words of a shim that cannot do its work: to standard error, then exit with this status. */
_Noreturn void die(int status, const char *what);

#endif
