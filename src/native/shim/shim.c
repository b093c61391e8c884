/* longshore-shim: one for each run of a container. It runs the OCI runtime, keeps the container's output, reaps its init,
 * writes the exit down and tells the daemon; it goes on when the daemon ends, and tells again when one comes back. */
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
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "shim.h"

enum { LISTENER = 4, SYSTEM_ERROR = 111, REAPED_KEPT = 32, DRAIN_LIMIT = 1024 * 1024, SYNC_AFTER_MS = 1000 };
enum source { FROM_SIGNAL, FROM_LISTENER, FROM_CONNECTION, FROM_STDOUT, FROM_STDERR, FROM_CONSOLE };

static int epoll = -1;
static int signals = -1;
static int console = -1;                /* listens for the terminal's master */
static int output[3] = { -1, -1, -1 };  /* reading ends, by stream */
static int inner[3] = { -1, -1, -1 };   /* the container's ends, until create has ended */
static enum shim_state state = STATE_CREATING;
static pid_t init;
static bool started;
static bool init_reaped;
static struct ending ending;
static bool acknowledged;
static bool recorded;
static bool synced;
static bool quit;
static int terms;

/* Children whose end was seen before anyone knew who they were: init may die before its pid is read. */
static struct { pid_t pid; int status; int64_t time_ns; } reaped[REAPED_KEPT];
static unsigned reaped_next;

static char buffer[16 * 1024];

static void watch(int fd, enum source source) {
  struct epoll_event event = { .events = EPOLLIN, .data.u32 = source };
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) die(SYSTEM_ERROR, "epoll_ctl");
}

/* With init's pidfd if asked. */
static void tell(struct shim_packet *packet, bool with_init) {
  packet->lost_bytes = log_lost;
  packet->state = state;
  connection_send(packet, with_init && !init_reaped ? init : 0);
}

static void describe_ending(struct shim_packet *packet) {
  packet->pid = init;
  packet->flags = started ? FLAG_STARTED : 0;
  if (!init_reaped) return;
  packet->wait_status = ending.wait_status;
  packet->time_ns = ending.time_ns;
  packet->oom_kills = ending.oom_kills;
  packet->flags |= (ending.output_complete ? FLAG_OUTPUT_COMPLETE : 0) | (ending.oom_known ? FLAG_OOM_KNOWN : 0);
}

static void tell_hello(void) {
  struct shim_packet packet = { .type = PACKET_HELLO };
  describe_ending(&packet);
  tell(&packet, true);
}

static void tell_result(int op, uint32_t tag, int wait_status, int error) {
  struct shim_packet packet = { .type = PACKET_RESULT, .tag = tag, .op = op, .pid = init, .wait_status = wait_status, .error = error, .time_ns = now_ns() };
  tell(&packet, op == OP_CREATE);
}

static void close_output(int stream) {
  if (output[stream] >= 0) close(output[stream]);
  output[stream] = -1;
}

/* Moves what the container wrote into the log; false once the stream has ended. A terminal whose last user is gone gives EIO. */
static bool drain(int stream, size_t limit) {
  size_t done = 0;
  while (output[stream] >= 0 && done < limit) {
    ssize_t length = read(output[stream], buffer, sizeof buffer);
    if (length > 0) {
      log_write(stream, buffer, (size_t) length);
      done += (size_t) length;
    } else if (length < 0 && errno == EINTR) {
      continue;
    } else if (length < 0 && errno == EAGAIN) {
      return true;
    } else {
      close_output(stream);
    }
  }
  return output[stream] >= 0;
}

static void init_ended(int status, int64_t time_ns) {
  struct shim_packet packet = { .type = PACKET_EXIT };
  init_reaped = true;
  state = STATE_EXITED;
  bool out = drain(STREAM_STDOUT, DRAIN_LIMIT);
  bool err = drain(STREAM_STDERR, DRAIN_LIMIT);
  ending = (struct ending) { .pid = init, .wait_status = status, .time_ns = time_ns, .output_complete = !out && !err, .started = started };
  ending.oom_known = oom_count(&ending.oom_kills);
  recorded = record_write(&ending) == 0;
  describe_ending(&packet);
  tell(&packet, false);
}

static void create_ended(int status) {
  char text[32];
  for (int stream = STREAM_STDOUT; stream <= STREAM_STDERR; stream++) {
    if (inner[stream] >= 0) close(inner[stream]);
    inner[stream] = -1;
  }
  if (console >= 0) {
    close(console);
    console = -1;
    (void) unlink("c.sock");
  }
  if (status == 0 && read_file("pid", text, sizeof text) > 0) init = (pid_t) strtol(text, NULL, 10);
  if (status != 0 || init <= 0) {
    init = 0;
    /* What it said on the container's streams is not the container's: let the daemon read it as the runtime's words. */
    state = STATE_CREATE_FAILED;
    (void) drain(STREAM_STDOUT, DRAIN_LIMIT);
    (void) drain(STREAM_STDERR, DRAIN_LIMIT);
    return;
  }
  state = STATE_CREATED;
  oom_open(init);
}

static void call_ended(int status) {
  struct call ended = call;
  call = (struct call) { 0 };
  if (ended.op == OP_CREATE) create_ended(status);
  if (ended.op == OP_START && status == 0) {
    started = true;
    if (state == STATE_CREATED) state = STATE_RUNNING;
    /* A short init may have been reaped before the runtime that started it. */
    if (init_reaped) {
      ending.started = true;
      recorded = record_write(&ending) == 0;
    }
  }
  if ((ended.op == OP_DELETE || ended.op == OP_DELETE_FORCE) && status == 0 && (init == 0 || init_reaped)) state = STATE_DELETED;
  tell_result(ended.op, ended.tag, status, 0);
  if (ended.op != OP_CREATE || init == 0) return;
  for (unsigned i = 0; i < REAPED_KEPT; i++) {
    if (reaped[i].pid == init) init_ended(reaped[i].status, reaped[i].time_ns);
  }
}

/* Reaps whatever has ended; as subreaper the shim is the parent of all that the container leaves behind. */
static void reap(void) {
  for (;;) {
    int status;
    pid_t pid = waitpid(-1, &status, WNOHANG);
    if (pid < 0 && errno == EINTR) continue;
    if (pid <= 0) return;
    if (pid == call.pid) call_ended(status);
    else if (pid == init && !init_reaped) init_ended(status, now_ns());
    else if (init == 0) {
      reaped[reaped_next].pid = pid;
      reaped[reaped_next].status = status;
      reaped[reaped_next].time_ns = now_ns();
      reaped_next = (reaped_next + 1) % REAPED_KEPT;
    }
  }
}

static void on_signal(void) {
  struct signalfd_siginfo info;
  while (read(signals, &info, sizeof info) == sizeof info) {
    if (info.ssi_signo == SIGCHLD) continue;
    /* An orderly stop from outside, such as the host's shutdown: the container is asked, then made, to end. */
    terms++;
    if (init > 0 && !init_reaped) (void) kill(init, terms > 1 ? SIGKILL : SIGTERM); /* not reaped, so the pid is its own */
  }
  reap();
}

static void start_op(int op, uint32_t tag) {
  if (call.pid != 0) {
    tell_result(op, tag, 0, EBUSY);
    return;
  }
  if (op != OP_START && op != OP_DELETE && op != OP_DELETE_FORCE) {
    tell_result(op, tag, 0, EINVAL);
    return;
  }
  int err = runtime_error_file();
  int error = runtime_start(op, tag, err, err);
  if (err >= 0) close(err);
  if (error != 0) tell_result(op, tag, 0, error);
}

static void on_connection(void) {
  struct shim_packet packet;
  for (;;) {
    ssize_t length = recv(connection, &packet, sizeof packet, MSG_DONTWAIT | MSG_TRUNC);
    if (length < 0 && errno == EINTR) continue;
    if (length < 0 && errno == EAGAIN) return;
    if (length <= 0) {
      connection_drop();
      return;
    }
    /* What is not understood is left alone: a newer daemon must not be able to end a container by a word. */
    if (length != sizeof packet || packet.version != SHIM_PROTOCOL) continue;
    if (packet.type == PACKET_OP) start_op(packet.op, packet.tag);
    else if (packet.type == PACKET_ABORT) runtime_abort();
    else if (packet.type == PACKET_ACK) acknowledged = true;
    else if (packet.type == PACKET_QUIT && (init == 0 || init_reaped) && call.pid == 0) quit = true;
    if (connection < 0) return;
  }
}

static void on_listener(void) {
  if (!connection_accept(LISTENER)) return;
  watch(connection, FROM_CONNECTION);
  tell_hello();
}

/* The runtime hands the terminal's master over the console socket (OCI runtime command line, --console-socket). */
static void on_console(void) {
  union { char bytes[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } control;
  char name[256];
  struct iovec part = { name, sizeof name };
  struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes };
  int peer = accept4(console, NULL, NULL, SOCK_CLOEXEC);
  if (peer < 0) return;
  struct timeval limit = { .tv_sec = 5 };
  (void) setsockopt(peer, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  ssize_t length = recvmsg(peer, &message, MSG_CMSG_CLOEXEC);
  close(peer);
  struct cmsghdr *header = length >= 0 ? CMSG_FIRSTHDR(&message) : NULL;
  if (header == NULL || header->cmsg_type != SCM_RIGHTS || output[STREAM_STDOUT] >= 0) return;
  int master;
  memcpy(&master, CMSG_DATA(header), sizeof master);
  if (fcntl(master, F_SETFL, O_NONBLOCK) < 0) {
    close(master);
    return;
  }
  output[STREAM_STDOUT] = master;
  watch(master, FROM_STDOUT);
}

static void open_console(void) {
  struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "c.sock" };
  console = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (console < 0 || bind(console, (struct sockaddr *) &address, sizeof address) < 0 || listen(console, 1) < 0) die(SYSTEM_ERROR, "the console socket");
  watch(console, FROM_CONSOLE);
}

static void open_pipe(int stream, enum source source) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) < 0 || fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0) die(SYSTEM_ERROR, "pipe");
  output[stream] = ends[0];
  inner[stream] = ends[1];
  watch(ends[0], source);
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
  watch(signals, FROM_SIGNAL);
  watch(LISTENER, FROM_LISTENER);
  watch(connection, FROM_CONNECTION);
}

static void create(void) {
  int err = -1;
  if (options.terminal) {
    open_console();
    err = runtime_error_file();
  } else {
    open_pipe(STREAM_STDOUT, FROM_STDOUT);
    open_pipe(STREAM_STDERR, FROM_STDERR);
  }
  int error = runtime_start(OP_CREATE, 0, options.terminal ? err : inner[STREAM_STDOUT], options.terminal ? err : inner[STREAM_STDERR]);
  if (err >= 0) close(err);
  if (error == 0) return;
  create_ended(-1);
  tell_result(OP_CREATE, 0, 0, error);
}

/* Milliseconds until the exit must be made lasting, or -1. */
static int patience(void) {
  return init_reaped && (!recorded || (!acknowledged && !synced)) ? SYNC_AFTER_MS : -1;
}

static void on_silence(void) {
  if (!recorded) recorded = record_write(&ending) == 0;
  if (!recorded || acknowledged) return;
  log_sync();
  record_sync();
  synced = true;
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
    for (int i = 0; i < count; i++) {
      switch ((enum source) events[i].data.u32) {
        case FROM_SIGNAL: on_signal(); break;
        case FROM_LISTENER: on_listener(); break;
        case FROM_CONNECTION: if (connection >= 0) on_connection(); break;
        case FROM_STDOUT: (void) drain(STREAM_STDOUT, sizeof buffer * 4); break;
        case FROM_STDERR: (void) drain(STREAM_STDERR, sizeof buffer * 4); break;
        case FROM_CONSOLE: if (console >= 0) on_console(); break;
      }
    }
    /* Asked to stop, the container ended, and no daemon there to tell: what is on disk must do. */
    if (terms > 0 && connection < 0 && init_reaped && recorded) {
      on_silence();
      quit = true;
    }
  }
  return 0;
}
