/* The slots, and the streams of what is in them. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "shim.h"

struct process processes[SLOTS];
unsigned slots_used;

/* As much as a pipe holds, with its header as much as a reader of the log takes at once (src/runtime/log-reader.ts). Pages that nothing was read into cost nothing. */
_Alignas(4096) char piece[PIECE];

unsigned slot_of(const struct process *process) {
  return (unsigned) (process - processes);
}

int process_directory(const struct process *process, char *path, size_t size) {
  int length = process == processes ? snprintf(path, size, "%s", options.out) : snprintf(path, size, "%s/processes/%s", options.out, process->id);
  return length < 0 || (size_t) length >= size ? -1 : length;
}

void process_begin(struct process *process, const char *id, bool terminal, struct window window) {
  *process = (struct process) { .used = true, .terminal = terminal, .state = STATE_CREATING, .window = window, .console = -1,
    .output = { -1, -1, -1 }, .inner = { -1, -1, -1 }, .stdin_end = -1, .log = { .segment = -1 } };
  (void) snprintf(process->id, sizeof process->id, "%s", id);
  if (slots_used <= slot_of(process)) slots_used = slot_of(process) + 1;
}

static void close_output(struct process *process, int stream) {
  if (process->output[stream] < 0) return;
  close(process->output[stream]);
  process->output[stream] = -1;
  process->input.watched = process->input.watched && !process->terminal;
  if (process->terminal) input_end(process);
}

void close_inner(struct process *process) {
  for (int fd = 0; fd < 3; fd++) {
    if (process->inner[fd] >= 0) close(process->inner[fd]);
    process->inner[fd] = -1;
  }
}

void process_free(struct process *process) {
  console_close(process);
  close_inner(process);
  close_output(process, STREAM_STDOUT);
  close_output(process, STREAM_STDERR);
  input_end(process);
  if (process->log.segment >= 0) close(process->log.segment);
  process->log.segment = -1;
  process->used = false;
  while (slots_used > 1 && !processes[slots_used - 1].used) slots_used--;
}

bool output_ended(const struct process *process) {
  return process->settled && process->output[STREAM_STDOUT] < 0 && process->output[STREAM_STDERR] < 0;
}

/* A terminal whose last user is gone gives EIO. */
bool drain(struct process *process, int stream, size_t limit) {
  size_t done = 0;
  while (process->output[stream] >= 0 && done < limit) {
    ssize_t length = read(process->output[stream], piece, sizeof piece - LOG_HEADER);
    if (length > 0) {
      log_write(process, stream, piece, (size_t) length);
      done += (size_t) length;
    } else if (length < 0 && errno == EINTR) {
      continue;
    } else if (length < 0 && errno == EAGAIN) {
      break;
    } else {
      close_output(process, stream);
      if (output_ended(process)) log_finish(process);
    }
  }
  follow_look(process);
  return process->output[stream] >= 0;
}

/* `ours` is the end that must never block. */
static int open_pipe(int *ours, int *theirs, bool input) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) < 0) return errno;
  *ours = ends[input ? 1 : 0];
  *theirs = ends[input ? 0 : 1];
  return fcntl(*ours, F_SETFL, O_NONBLOCK) < 0 ? errno : 0;
}

int open_streams(struct process *process, bool with_input) {
  if (process->terminal) return console_open(process);
  int error = open_pipe(&process->output[STREAM_STDOUT], &process->inner[STREAM_STDOUT], false);
  if (error == 0) error = open_pipe(&process->output[STREAM_STDERR], &process->inner[STREAM_STDERR], false);
  if (error == 0 && with_input) error = open_pipe(&process->stdin_end, &process->inner[0], true);
  if (error != 0) return error;
  watch(process->output[STREAM_STDOUT], FROM_STDOUT, process, EPOLLIN);
  watch(process->output[STREAM_STDERR], FROM_STDERR, process, EPOLLIN);
  return 0;
}
