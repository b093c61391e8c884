/* What the daemon asks the runtime for: how such a call begins, and what its end means. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shim.h"

static struct process *const init = processes;

/* A runtime may name any process; one that lives is believed to be the container's if it is the shim's child, as it has become by the end
 * of its maker. Another's would be signalled and killed in its place. */
static bool is_stranger(pid_t pid) {
  siginfo_t info;
  if (waitid(P_PID, (id_t) pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 || ended_early(pid)) return false;
  return kill(pid, 0) == 0 || errno == EPERM;
}

bool made(struct process *process, int status) {
  char name[32];
  char text[32];
  close_inner(process);
  console_close(process);
  process->settled = true;
  runtime_pid_file(process, name, sizeof name);
  pid_t pid = read_file(name, text, sizeof text) > 0 ? (pid_t) strtol(text, NULL, 10) : 0;
  if (status == 0 && pid > 0 && !is_stranger(pid)) {
    process->pid = pid;
    failpoint(process == init ? "create" : "exec", "named");
    input_write(process);
    return true;
  }
  /* A runtime that was ended after it had made the process: nobody is to be left behind. Only a child that is not reaped yet is sure to be meant. */
  siginfo_t info;
  if (process != init && pid > 0 && waitid(P_PID, (id_t) pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0) (void) kill(pid, SIGKILL);
  /* What it said on the process's streams is not the process's: let the daemon read it as the runtime's words. */
  process->state = STATE_CREATE_FAILED;
  (void) drain(process, STREAM_STDOUT, DRAIN_LIMIT);
  (void) drain(process, STREAM_STDERR, DRAIN_LIMIT);
  input_end(process);
  return false;
}

static void create_ended(int status, uint32_t tag) {
  if (made(init, status)) {
    init->state = options.restore ? STATE_RUNNING : STATE_CREATED;
    init->started = options.restore;
    oom_open(init->pid);
  }
  tell_result(init, OP_CREATE, tag, status, 0);
  if (init->pid > 0) find_early_end(init);
}

static void exec_ended(struct process *process, int status, uint32_t tag) {
  if (!made(process, status)) {
    tell_result(process, OP_EXEC, tag, status, 0);
    free_slot(process);
    return;
  }
  process->state = STATE_RUNNING;
  process->started = true;
  tell_result(process, OP_EXEC, tag, status, 0);
  find_early_end(process);
}

void start_settled(uint32_t tag, int wait_status) {
  if (wait_status == 0) {
    init->started = true;
    if (init->state == STATE_CREATED) init->state = STATE_RUNNING;
    /* A short init may have been reaped before the runtime that started it. */
    if (init->reaped) {
      init->ending.started = true;
      init->recorded = record_write(init) == 0;
      init->synced = false;
    }
  }
  tell_result(init, OP_START, tag, wait_status, 0);
}

void call_ended(struct process *process, int status) {
  struct call ended = process->call;
  process->call = (struct call) { 0 };
  failpoint_of(ended.op, "ended");
  if (ended.op == OP_CREATE) {
    create_ended(status, ended.tag);
    return;
  }
  if (ended.op == OP_EXEC) {
    exec_ended(process, status, ended.tag);
    return;
  }
  if (ended.op == OP_START) {
    start_settled(ended.tag, status);
    return;
  }
  if ((ended.op == OP_DELETE || ended.op == OP_DELETE_FORCE) && status == 0 && (init->pid == 0 || init->reaped)) init->state = STATE_DELETED;
  tell_result(init, ended.op, ended.tag, status, 0);
}

static void call_runtime(int op, uint32_t tag) {
  int err = runtime_error_file(init);
  const int streams[3] = { -1, err, err };
  int error = runtime_start(init, op, tag, streams);
  if (err >= 0) close(err);
  if (error != 0) tell_result(init, op, tag, 0, error);
}

void start_by_runtime(uint32_t tag) {
  if (init->call.pid != 0) tell_result(init, OP_START, tag, 0, EBUSY);
  else call_runtime(OP_START, tag);
}

void start_op(int op, uint32_t tag) {
  /* Asked again over another connection: what has been done is told, and the answer of what is under way is still to come. */
  if (tell_again(tag) || (tag != 0 && (tag == start_tag() || (init->call.pid != 0 && tag == init->call.tag)))) return;
  if (init->call.pid != 0 || start_pending()) {
    tell_result(init, op, tag, 0, EBUSY);
    return;
  }
  if (op != OP_START && op != OP_DELETE && op != OP_DELETE_FORCE) {
    tell_result(init, op, tag, 0, EINVAL);
    return;
  }
  if (op == OP_START && start_begin(init, tag)) return;
  call_runtime(op, tag);
}

/* Runs the runtime that is to make the process; 0 or an errno. */
int make(struct process *process, int op, uint32_t tag, bool with_input) {
  forget_early_ends();
  process->settled = false;
  int error = open_streams(process, with_input);
  if (error != 0) return error;
  int err = process->terminal ? runtime_error_file(process) : -1;
  const int own[3] = { -1, err, err };
  error = runtime_start(process, op, tag, process->terminal ? own : process->inner);
  if (err >= 0) close(err);
  return error;
}

void exec_begin(struct process *process, const struct shim_packet *packet, const char *id, struct window window) {
  if (init->pid == 0 || init->reaped) {
    struct shim_packet refusal = { .type = PACKET_RESULT, .tag = packet->tag, .op = OP_EXEC, .error = ESRCH, .slot = packet->slot };
    connection_send(NULL, &refusal, 0, NULL, 0);
    return;
  }
  process_begin(process, id, (packet->flags & FLAG_TERMINAL) != 0, window);
  if (!oom_count(&process->oom_before)) process->oom_before = 0;
  int error = make(process, OP_EXEC, packet->tag, (packet->flags & FLAG_NO_INPUT) == 0);
  if (error == 0) return;
  process->settled = true;
  process->state = STATE_CREATE_FAILED;
  tell_result(process, OP_EXEC, packet->tag, 0, error);
  free_slot(process);
}

void create(void) {
  int error = make(init, OP_CREATE, 0, true);
  if (error == 0) return;
  (void) made(init, -1);
  tell_result(init, OP_CREATE, 0, 0, error);
}
