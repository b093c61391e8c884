/* What the daemon is told of the slots: by itself when something ended, and all of it over a new connection. */
#include <string.h>

#include "shim.h"

static struct process *const init = processes;

static void describe_ending(const struct process *process, struct shim_packet *packet) {
  const struct ending *ending = &process->ending;
  packet->pid = process->pid;
  packet->flags = (process->started ? FLAG_STARTED : 0) | (process->terminal ? FLAG_TERMINAL : 0);
  if (!process->reaped) return;
  packet->wait_status = ending->wait_status;
  packet->time_ns = ending->time_ns;
  packet->count = ending->oom_kills;
  packet->flags |= (ending->output_complete ? FLAG_OUTPUT_COMPLETE : 0) | (ending->oom_known ? FLAG_OOM_KNOWN : 0);
}

/* With the process's pidfd while it lives. */
static void tell(const struct process *process, struct shim_packet *packet, const char *payload, size_t length) {
  connection_send(process, packet, process->reaped ? 0 : process->pid, payload, length);
}

void tell_ending(const struct process *process) {
  struct shim_packet packet = { .type = PACKET_EXIT };
  describe_ending(process, &packet);
  tell(process, &packet, NULL, 0);
}

void tell_hello(void) {
  for (unsigned slot = 1; slot < slots_used; slot++) {
    const struct process *process = &processes[slot];
    struct shim_packet packet = { .type = PACKET_PROCESS };
    if (!process->used) continue;
    describe_ending(process, &packet);
    tell(process, &packet, process->id, strlen(process->id));
  }
  struct shim_packet packet = { .type = PACKET_HELLO };
  describe_ending(init, &packet);
  tell(init, &packet, NULL, 0);
}

/* The last result of an op of init, for a connection that asks for it again. */
static struct { uint32_t tag; int op; int wait_status; int error; } last;

bool tell_again(uint32_t tag) {
  if (tag == 0 || tag != last.tag) return false;
  tell_result(init, last.op, last.tag, last.wait_status, last.error);
  return true;
}

void tell_result(const struct process *process, int op, uint32_t tag, int wait_status, int error) {
  if (process == init) {
    last.tag = tag;
    last.op = op;
    last.wait_status = wait_status;
    last.error = error;
  }
  struct shim_packet packet = { .type = PACKET_RESULT, .tag = tag, .op = op, .pid = process->pid, .wait_status = wait_status, .error = error, .time_ns = now_ns() };
  bool makes = (op == OP_CREATE || op == OP_EXEC) && process->pid > 0;
  /* The pid of one that was reaped may be another's by now. Its exit follows. */
  bool ended = makes && (process->reaped || ended_early(process->pid));
  if (ended) packet.flags |= FLAG_ENDED;
  connection_send(process, &packet, makes && !ended ? process->pid : 0, NULL, 0);
  failpoint_of(op, "told");
}
