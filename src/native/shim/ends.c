/* Ends of children: the shim is the parent of its calls of the runtime, of init and of all that was executed beside it, and, as
 * subreaper, of whatever they leave behind. */
#include <errno.h>
#include <sys/wait.h>

#include "shim.h"

enum { REAPED_KEPT = 512 };

static struct process *const init = processes;

/* Children whose end was seen before anyone knew who they were: a process may die before its pid is read. */
static struct { pid_t pid; int status; int64_t time_ns; } reaped[REAPED_KEPT];
static unsigned reaped_count;

static bool starting(void) {
  for (unsigned slot = 0; slot < slots_used; slot++) {
    if (processes[slot].used && !processes[slot].settled) return true;
  }
  return false;
}

void forget_early_ends(void) {
  if (!starting()) reaped_count = 0;
}

void free_slot(struct process *process) {
  struct shim_packet packet = { .type = PACKET_FREE };
  connection_send(process, &packet, 0, NULL, 0);
  process_free(process);
}

/* A slot is held until its exit is the journal's and its output has ended, whichever comes last. */
void maybe_free(struct process *process) {
  if (process != init && process->used && process->acknowledged && output_ended(process)) free_slot(process);
}

void acknowledge(struct process *process) {
  if (process != init && process->call.pid != 0) return;
  process->acknowledged = true;
  /* One that was another's child is never reaped here; the daemon saw its end. */
  if (process != init) process->reaped = process->recorded = true;
  maybe_free(process);
}

/* A process that was killed for want of memory is one of the kills, and no other's. Init counts all of its container. */
static void claim_kill(const struct process *process) {
  if (process == init || !WIFSIGNALED(process->ending.wait_status) || WTERMSIG(process->ending.wait_status) != SIGKILL || process->ending.oom_kills == 0) return;
  for (unsigned slot = 1; slot < slots_used; slot++) {
    struct process *other = &processes[slot];
    if (other != process && other->used && !other->reaped) other->oom_before++;
  }
}

static void process_ended(struct process *process, int status, int64_t time_ns) {
  if (process == init) start_init_ended();
  process->reaped = true;
  process->state = STATE_EXITED;
  failpoint(process == init ? "exit" : "exec-exit", "reaped");
  bool out = drain(process, STREAM_STDOUT, DRAIN_LIMIT);
  bool err = drain(process, STREAM_STDERR, DRAIN_LIMIT);
  input_end(process);
  struct ending *ending = &process->ending;
  *ending = (struct ending) { .pid = process->pid, .wait_status = status, .time_ns = time_ns, .output_complete = !out && !err, .started = process->started };
  ending->oom_known = oom_count(&ending->oom_kills);
  /* What another one has claimed was perhaps not counted yet when this one began. */
  if (ending->oom_known) ending->oom_kills -= process->oom_before < ending->oom_kills ? process->oom_before : ending->oom_kills;
  claim_kill(process);
  failpoint(process == init ? "exit" : "exec-exit", "drained");
  /* A daemon that is there hears of it first: it writes the exit into its journal before it tells anybody, and when both it and the
   * shim die before either has written, nobody has been told. The packet lies in the daemon's socket from now on, also without the shim. */
  tell_ending(process);
  failpoint(process == init ? "exit" : "exec-exit", "told");
  process->recorded = record_write(process) == 0;
  failpoint(process == init ? "exit" : "exec-exit", "recorded");
  /* It cannot be let go any more; the runtime has the words for that. */
  if (process == init && start_pending()) start_give_up();
}

bool ended_early(pid_t pid) {
  for (unsigned i = 0; i < reaped_count && i < REAPED_KEPT; i++) {
    if (reaped[i].pid == pid) return true;
  }
  return false;
}

void find_early_end(struct process *process) {
  for (unsigned i = 0; i < reaped_count && i < REAPED_KEPT; i++) {
    if (reaped[i].pid != process->pid) continue;
    reaped[i].pid = 0;
    process_ended(process, reaped[i].status, reaped[i].time_ns);
    return;
  }
}

void child_ended(pid_t pid, int status) {
  for (unsigned slot = 0; slot < slots_used; slot++) {
    struct process *process = &processes[slot];
    if (!process->used) continue;
    if (pid == process->call.pid) {
      call_ended(process, status);
      return;
    }
    if (pid == process->pid && !process->reaped) {
      process_ended(process, status, now_ns());
      return;
    }
  }
  if (!starting()) return;
  unsigned place = reaped_count++ % REAPED_KEPT;
  reaped[place].pid = pid;
  reaped[place].status = status;
  reaped[place].time_ns = now_ns();
}

void reap(void) {
  for (;;) {
    int status;
    pid_t pid = waitpid(-1, &status, WNOHANG);
    if (pid < 0 && errno == EINTR) continue;
    if (pid <= 0) return;
    child_ended(pid, status);
  }
}
