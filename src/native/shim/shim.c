/* longshore-shim: one for each run of a container. It runs the OCI runtime, keeps the output of the container's processes,
 * reaps them, writes each exit down and tells the daemon; it goes on when the daemon ends, and tells again when one comes back. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shim.h"

enum { LISTENER = 4, REAPED_KEPT = 512, DRAIN_LIMIT = 1024 * 1024, SYNC_AFTER_MS = 1000 };

static int epoll = -1;
static int signals = -1;
static bool quit;
static int terms;
static struct process *const init = processes;

/* Children whose end was seen before anyone knew who they were: a process may die before its pid is read. */
static struct { pid_t pid; int status; int64_t time_ns; } reaped[REAPED_KEPT];
static unsigned reaped_count;

char buffer[MOST_PAYLOAD];

static bool set_watch(int how, int fd, enum source source, const struct process *process, uint32_t events) {
  struct epoll_event event = { .events = events, .data.u32 = (uint32_t) source | slot_of(process) << 8 };
  return epoll_ctl(epoll, how, fd, &event) == 0;
}

void watch(int fd, enum source source, const struct process *process, uint32_t events) {
  if (!set_watch(EPOLL_CTL_ADD, fd, source, process, events)) die(SYSTEM_ERROR, "epoll_ctl");
}

void rewatch(int fd, enum source source, const struct process *process, uint32_t events) {
  if (!set_watch(EPOLL_CTL_MOD, fd, source, process, events)) die(SYSTEM_ERROR, "epoll_ctl");
}

void unwatch(int fd) {
  (void) epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL); /* fails only for one that is not in the set */
}

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

static void tell_hello(void) {
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

static void tell_result(const struct process *process, int op, uint32_t tag, int wait_status, int error) {
  struct shim_packet packet = { .type = PACKET_RESULT, .tag = tag, .op = op, .pid = process->pid, .wait_status = wait_status, .error = error, .time_ns = now_ns() };
  connection_send(process, &packet, (op == OP_CREATE || op == OP_EXEC) && !process->reaped ? process->pid : 0, NULL, 0);
}

static void free_slot(struct process *process) {
  struct shim_packet packet = { .type = PACKET_FREE };
  connection_send(process, &packet, 0, NULL, 0);
  process_free(process);
}

/* A slot is held until its exit is the journal's and its output has ended, whichever comes last. */
static void maybe_free(struct process *process) {
  if (process != init && process->used && process->acknowledged && output_ended(process)) free_slot(process);
}

void acknowledge(struct process *process) {
  if (process != init && process->call.pid != 0) return;
  process->acknowledged = true;
  /* One that was another's child is never reaped here; the daemon saw its end. */
  if (process != init) process->reaped = process->recorded = true;
  maybe_free(process);
}

static void process_ended(struct process *process, int status, int64_t time_ns) {
  struct shim_packet packet = { .type = PACKET_EXIT };
  if (process == init) start_init_ended();
  process->reaped = true;
  process->state = STATE_EXITED;
  bool out = drain(process, STREAM_STDOUT, DRAIN_LIMIT);
  bool err = drain(process, STREAM_STDERR, DRAIN_LIMIT);
  input_end(process);
  struct ending *ending = &process->ending;
  *ending = (struct ending) { .pid = process->pid, .wait_status = status, .time_ns = time_ns, .output_complete = !out && !err, .started = process->started };
  ending->oom_known = oom_count(&ending->oom_kills);
  ending->oom_kills -= ending->oom_known ? process->oom_before : 0;
  process->recorded = record_write(process) == 0;
  describe_ending(process, &packet);
  tell(process, &packet, NULL, 0);
  /* It cannot be let go any more; the runtime has the words for that. */
  if (process == init && start_pending()) start_give_up();
}

/* The runtime that was to make a process has ended: true with the pid in it when it did. */
static bool made(struct process *process, int status) {
  char name[32];
  char text[32];
  close_inner(process);
  console_close(process);
  process->settled = true;
  runtime_pid_file(process, name, sizeof name);
  pid_t pid = read_file(name, text, sizeof text) > 0 ? (pid_t) strtol(text, NULL, 10) : 0;
  if (status == 0 && pid > 0) {
    process->pid = pid;
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

static void find_early_end(struct process *process) {
  for (unsigned i = 0; i < reaped_count && i < REAPED_KEPT; i++) {
    if (reaped[i].pid != process->pid) continue;
    reaped[i].pid = 0;
    process_ended(process, reaped[i].status, reaped[i].time_ns);
    return;
  }
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
    }
  }
  tell_result(init, OP_START, tag, wait_status, 0);
}

static void call_ended(struct process *process, int status) {
  struct call ended = process->call;
  process->call = (struct call) { 0 };
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

static bool starting(void) {
  for (unsigned slot = 0; slot < slots_used; slot++) {
    if (processes[slot].used && !processes[slot].settled) return true;
  }
  return false;
}

static void child_ended(pid_t pid, int status) {
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

/* Reaps whatever has ended; as subreaper the shim is the parent of all that the container leaves behind. */
static void reap(void) {
  for (;;) {
    int status;
    pid_t pid = waitpid(-1, &status, WNOHANG);
    if (pid < 0 && errno == EINTR) continue;
    if (pid <= 0) return;
    child_ended(pid, status);
  }
}

static void on_signal(void) {
  struct signalfd_siginfo info;
  while (read(signals, &info, sizeof info) == sizeof info) {
    if (info.ssi_signo == SIGCHLD) continue;
    /* An orderly stop from outside, such as the host's shutdown: the container is asked, then made, to end. */
    terms++;
    if (init->pid > 0 && !init->reaped) (void) kill(init->pid, terms > 1 ? SIGKILL : SIGTERM); /* not reaped, so the pid is its own */
  }
  reap();
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
static int make(struct process *process, int op, uint32_t tag, bool with_input) {
  if (!starting()) reaped_count = 0;
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

void may_quit(void) {
  if (init->pid > 0 && !init->reaped) return;
  for (unsigned slot = 0; slot < slots_used; slot++) {
    if (processes[slot].used && processes[slot].call.pid != 0) return;
  }
  quit = true;
}

static void on_listener(void) {
  if (!connection_accept(LISTENER)) return;
  watch(connection, FROM_CONNECTION, init, EPOLLIN);
  tell_hello();
}

static void set_up(void) {
  sigset_t mask;
  umask(077);
  if (setsid() < 0 && errno != EPERM) die(SYSTEM_ERROR, "setsid");
  if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0) die(SYSTEM_ERROR, "prctl");
  if (signal(SIGPIPE, SIG_IGN) == SIG_ERR || signal(SIGHUP, SIG_IGN) == SIG_ERR) die(SYSTEM_ERROR, "signal");
  sigemptyset(&mask);
  sigaddset(&mask, SIGCHLD);
  sigaddset(&mask, SIGTERM);
  sigaddset(&mask, SIGINT);
  if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0) die(SYSTEM_ERROR, "sigprocmask");
  signals = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
  epoll = epoll_create1(EPOLL_CLOEXEC);
  if (signals < 0 || epoll < 0) die(SYSTEM_ERROR, "signalfd or epoll");
  if (fcntl(connection, F_SETFD, FD_CLOEXEC) < 0 || fcntl(LISTENER, F_SETFD, FD_CLOEXEC) < 0) die(SYSTEM_ERROR, "descriptors 3 and 4 must be sockets");
  if (fcntl(LISTENER, F_SETFL, O_NONBLOCK) < 0) die(SYSTEM_ERROR, "fcntl");
  /* Again, after the daemon's: SO_PEERCRED of whoever connects is then the shim's. */
  if (listen(LISTENER, 4) < 0) die(SYSTEM_ERROR, "listen");
  process_begin(init, "init", options.terminal, options.window);
  watch(signals, FROM_SIGNAL, init, EPOLLIN);
  watch(LISTENER, FROM_LISTENER, init, EPOLLIN);
  watch(connection, FROM_CONNECTION, init, EPOLLIN);
}

static void create(void) {
  int error = make(init, OP_CREATE, 0, true);
  if (error == 0) return;
  (void) made(init, -1);
  tell_result(init, OP_CREATE, 0, 0, error);
}

static bool must_last(const struct process *process) {
  return process->used && process->reaped && (!process->recorded || (!process->acknowledged && !process->synced));
}

/* Of two numbers of milliseconds; -1 is never. */
static int sooner(int one, int other) {
  return other < 0 || (one >= 0 && one < other) ? one : other;
}

/* Milliseconds until exits must be made lasting or a start is overdue, or -1. */
static int patience(void) {
  for (unsigned slot = 0; slot < slots_used; slot++) {
    if (must_last(&processes[slot])) return sooner(SYNC_AFTER_MS, start_patience());
  }
  return start_patience();
}

static void on_silence(void) {
  for (unsigned slot = 0; slot < slots_used; slot++) {
    struct process *process = &processes[slot];
    if (!must_last(process)) continue;
    if (!process->recorded) process->recorded = record_write(process) == 0;
    if (!process->recorded || process->acknowledged) continue;
    log_sync(process);
    record_sync(process);
    process->synced = true;
  }
}

static bool all_recorded(void) {
  for (unsigned slot = 0; slot < slots_used; slot++) {
    if (processes[slot].used && !processes[slot].recorded) return false;
  }
  return true;
}

static void on_output(struct process *process, int stream, uint32_t events) {
  if ((events & EPOLLOUT) != 0) input_write(process);
  (void) drain(process, stream, sizeof buffer * 4);
  maybe_free(process);
}

static void on_event(const struct epoll_event *event) {
  struct process *process = &processes[event->data.u32 >> 8];
  switch ((enum source) (event->data.u32 & 0xff)) {
    case FROM_SIGNAL: on_signal(); break;
    case FROM_LISTENER: on_listener(); break;
    case FROM_CONNECTION: on_connection(); break;
    case FROM_STDOUT: on_output(process, STREAM_STDOUT, event->events); break;
    case FROM_STDERR: on_output(process, STREAM_STDERR, event->events); break;
    case FROM_CONSOLE: console_accept(process); break;
    case FROM_STDIN: input_write(process); break;
    case FROM_START: on_start(); break;
  }
}

int main(int argc, char **argv) {
  errno = 0;
  parse_args(argc, argv);
  set_up();
  tell_hello();
  create();
  while (!quit) {
    struct epoll_event events[8];
    int count = epoll_wait(epoll, events, 8, patience());
    if (count < 0 && errno != EINTR) die(SYSTEM_ERROR, "epoll_wait");
    if (count == 0) on_silence();
    start_overdue();
    for (int i = 0; i < count; i++) {
      /* One of them may have freed the slot of another. */
      if (processes[events[i].data.u32 >> 8].used) on_event(&events[i]);
    }
    /* Asked to stop, the container ended, and no daemon there to tell: what is on disk must do. */
    if (terms > 0 && connection < 0 && init->reaped && all_recorded()) {
      on_silence();
      quit = true;
    }
  }
  return 0;
}
