/* The shim as a whole, but for its main loop and for what it does to the world: any packets in any order, runtimes that end
 * anyhow and write anything into their pid file, processes that end, write and read when they like, daemons that come and go. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define main shim_main
#include "shim.c"
#undef main

/* No runtime is executed: a call is under way until the input says how it ended. Its pid is none that the kernel gives. */
enum { NO_PID = 1 << 29 };

int runtime_start(struct process *process, int op, uint32_t tag, const int streams[3]) {
  (void) streams;
  if (tag % 7 == 6) return ENOENT;
  process->call = (struct call) { .pid = NO_PID + (int) slot_of(process), .op = op, .tag = tag };
  return 0;
}
void runtime_abort(const struct process *process) { (void) process; }
int runtime_error_file(const struct process *process) { (void) process; return open("/dev/null", O_WRONLY | O_CLOEXEC); }
void runtime_pid_file(const struct process *process, char *name, size_t size) { (void) snprintf(name, size, "pid-%u", slot_of(process)); }

static const uint8_t *data;
static size_t left;
static int peer = -1;

static uint8_t byte(void) {
  if (left == 0) return 0;
  left--;
  return *data++;
}

static size_t bytes(const uint8_t **from, size_t most) {
  size_t length = byte();
  if (length > most) length = most;
  if (length > left) length = left;
  *from = data;
  data += length;
  left -= length;
  return length;
}

static struct process *any(void) { return &processes[byte() % 4]; }

static void join(void) {
  int ends[2];
  if (peer >= 0) close(peer);
  connection_drop();
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0) abort();
  connection = ends[0];
  peer = ends[1];
  tell_hello();
}

static void hear(void) {
  static char answer[32 * 1024];
  while (recv(peer, answer, sizeof answer, MSG_DONTWAIT) > 0) {}
}

static void send_packet(void) {
  static const uint16_t types[] = { PACKET_OP, PACKET_OP, PACKET_ABORT, PACKET_ACK, PACKET_QUIT, PACKET_FOLLOW, PACKET_INPUT, PACKET_CLOSE_INPUT, PACKET_RESIZE, 99 };
  static char whole[sizeof(struct shim_packet) + 256 + sizeof(struct exec_payload)];
  struct shim_packet packet = { .version = byte() == 255 ? 1 : SHIM_PROTOCOL, .type = types[byte() % 10], .slot = byte() % 5, .tag = byte(), .op = byte() % 7, .flags = byte(), .count = byte() };
  if (packet.slot == 4) packet.slot = byte() % 2 ? 255 : 60000;
  const uint8_t *payload;
  size_t length = bytes(&payload, 200);
  memcpy(whole, &packet, sizeof packet);
  memcpy(whole + sizeof packet, payload, length);
  (void) !send(peer, whole, sizeof packet + length, MSG_DONTWAIT | MSG_NOSIGNAL);
  on_connection();
}

static void send_noise(void) {
  const uint8_t *noise;
  size_t length = bytes(&noise, 255);
  (void) !send(peer, noise, length, MSG_DONTWAIT | MSG_NOSIGNAL);
  on_connection();
}

static void end_call(void) {
  struct process *process = any();
  const uint8_t *text;
  char name[32];
  int status = byte() % 2 ? 0 : byte();
  if (!process->used || process->call.pid == 0) return;
  runtime_pid_file(process, name, sizeof name);
  int file = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  size_t length = bytes(&text, 40);
  /* Mostly a number that could be one. */
  if (length == 0) (void) !dprintf(file, "%d", NO_PID + 1000 + (int) slot_of(process));
  else (void) !write(file, text, length);
  close(file);
  child_ended(process->call.pid, status);
}

static void end_process(void) {
  struct process *process = any();
  int status = byte() << 8;
  child_ended(process->used && process->pid > 0 ? process->pid : NO_PID + 1000 + (int) slot_of(process), status);
}

static void speak(void) {
  struct process *process = any();
  int stream = 1 + byte() % 2;
  const uint8_t *text;
  size_t length = bytes(&text, 255);
  if (!process->used) return;
  if (process->inner[stream] >= 0) (void) !write(process->inner[stream], text, length);
  on_output(process, stream, byte() % 2 ? EPOLLIN : EPOLLIN | EPOLLOUT);
}

static void listen_to_input(void) {
  char text[64];
  struct process *process = any();
  if (process->used && process->inner[0] >= 0) {
    int flags = fcntl(process->inner[0], F_GETFL);
    (void) fcntl(process->inner[0], F_SETFL, flags | O_NONBLOCK);
    (void) !read(process->inner[0], text, sizeof text);
  }
  if (process->used) input_write(process);
}

static void check(void) {
  if (quit && init->pid > 0 && !init->reaped) abort(); /* it must never leave a container that lives */
  for (unsigned slot = slots_used; slot < 8; slot++) if (processes[slot].used) abort();
  for (unsigned slot = 0; slot < slots_used; slot++) {
    const struct process *process = &processes[slot];
    if (!process->used) continue;
    if (process->log.kept > options.log_segments || process->log.lost < 0) abort();
    if (process->input.done > process->input.length) abort();
    if (process->state == STATE_EXITED && !process->reaped) abort();
  }
}

static void forget(void) {
  for (unsigned slot = 0; slot < SLOTS; slot++) if (processes[slot].used) process_free(&processes[slot]);
  memset(processes, 0, 8 * sizeof processes[0]);
  slots_used = 0;
  quit = false;
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size) {
  if (epoll < 0) {
    char directory[] = "/dev/shm/longshore-fuzz-XXXXXX";
    if (mkdtemp(directory) == NULL || chdir(directory) < 0 || mkdir("out", 0700) < 0 || mkdir("out/processes", 0700) < 0) abort();
    for (const char *id = "ab"; *id != '\0'; id++) {
      char path[] = "out/processes/?";
      path[sizeof path - 2] = *id;
      (void) mkdir(path, 0700);
    }
    epoll = epoll_create1(EPOLL_CLOEXEC);
    connection = -1;
    if (signal(SIGPIPE, SIG_IGN) == SIG_ERR) abort(); /* as the shim does when it starts */
  }
  int free_before = dup(epoll);
  close(free_before);
  data = input;
  left = size;
  options = (struct options) { .id = "c", .bundle = "/", .out = "out", .log_bytes = 4096, .log_segments = 2 };
  process_begin(init, "init", byte() % 4 == 0, (struct window) { 0, 0 });
  join();
  if (make(init, OP_CREATE, 0, true) != 0) (void) made(init, -1);
  while (left > 0 && !quit) {
    switch (byte() % 10) {
      case 0: case 1: case 2: send_packet(); break;
      case 3: send_noise(); break;
      case 4: end_call(); break;
      case 5: end_process(); break;
      case 6: speak(); break;
      case 7: listen_to_input(); break;
      case 8: join(); break;
      case 9: make_last(); give_back(); break;
    }
    hear();
    if (connection < 0) join();
    check();
  }
  forget();
  close(peer);
  peer = -1;
  connection_drop();
  /* All descriptors are given back. */
  int free_after = dup(epoll);
  close(free_after);
  if (free_after != free_before) abort();
  return 0;
}
