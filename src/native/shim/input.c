/* Input on its way to a process: one piece for each slot, which waits here for as long as the process does not read.
 * Its answer comes when all of it is written: the daemon sends no more until then, so nothing piles up anywhere. */
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <termios.h>
#include <unistd.h>

#include "shim.h"

static char pieces[SLOTS][MOST_PAYLOAD];

static void answer(const struct process *process, uint32_t tag, int error) {
  struct shim_packet packet = { .type = PACKET_INPUT_RESULT, .tag = tag, .error = error };
  connection_send(process, &packet, 0, NULL, 0);
}

static int descriptor(const struct process *process) {
  return process->terminal ? process->output[STREAM_STDOUT] : process->stdin_end;
}

/* A terminal's master is watched for its output too. */
static void want_room(struct process *process, bool wanted) {
  struct input *input = &process->input;
  int fd = descriptor(process);
  if (fd < 0 || input->watched == wanted) return;
  input->watched = wanted;
  if (process->terminal) rewatch(fd, FROM_STDOUT, process, EPOLLIN | (wanted ? EPOLLOUT : 0));
  else if (wanted) watch(fd, FROM_STDIN, process, EPOLLOUT);
  else unwatch(fd);
}

static void shut(struct process *process) {
  struct input *input = &process->input;
  want_room(process, false);
  if (process->terminal && !input->closed && descriptor(process) >= 0) {
    /* A terminal has no half that could be closed: the character that says so is typed instead (termios(3), VEOF). */
    struct termios mode;
    if (tcgetattr(descriptor(process), &mode) == 0 && (mode.c_lflag & ICANON) != 0) (void) !write(descriptor(process), &mode.c_cc[VEOF], 1);
  }
  if (process->stdin_end >= 0) close(process->stdin_end);
  process->stdin_end = -1;
  input->closed = true;
}

static void finish(struct process *process, int error) {
  struct input *input = &process->input;
  want_room(process, false);
  input->pending = false;
  input->error = error;
  answer(process, input->tag, error);
  if (input->closing || error != 0) shut(process);
}

void input_write(struct process *process) {
  struct input *input = &process->input;
  const char *piece = pieces[slot_of(process)];
  while (input->pending) {
    int fd = descriptor(process);
    /* The terminal's master may still be on its way. */
    if (fd < 0 && process->terminal && !process->settled) return;
    if (input->done == input->length) {
      finish(process, 0);
      return;
    }
    ssize_t length = fd < 0 ? -1 : write(fd, piece + input->done, (size_t) (input->length - input->done));
    if (length > 0) input->done = (uint16_t) (input->done + length);
    else if (fd >= 0 && length < 0 && errno == EINTR) continue;
    else if (fd >= 0 && length < 0 && errno == EAGAIN) {
      want_room(process, true);
      return;
    } else {
      finish(process, EPIPE);
    }
  }
}

void input_take(struct process *process, uint32_t tag, const char *bytes, size_t length) {
  struct input *input = &process->input;
  if (input->pending) {
    /* Asked again over another connection: its answer is still to come. Another piece has to wait for that one's. */
    if (tag != input->tag) answer(process, tag, EBUSY);
    return;
  }
  if (tag == input->tag && input->tag != 0) {
    answer(process, tag, input->error);
    return;
  }
  if (input->closed || (!process->terminal && process->stdin_end < 0)) {
    answer(process, tag, EPIPE);
    return;
  }
  memcpy(pieces[slot_of(process)], bytes, length);
  *input = (struct input) { .tag = tag, .length = (uint16_t) length, .pending = true, .watched = input->watched };
  input_write(process);
}

void input_close(struct process *process) {
  if (process->input.pending) process->input.closing = true;
  else if (!process->input.closed) shut(process);
}

void input_end(struct process *process) {
  if (process->input.pending) finish(process, EPIPE);
  want_room(process, false);
  if (process->stdin_end >= 0) close(process->stdin_end);
  process->stdin_end = -1;
  process->input.closed = true;
}
