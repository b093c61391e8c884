/* What the daemon asks, checked before anything is done: a slot that is none, a wrong size, a word that is not known.
 * What is not understood is left alone: a newer daemon must not be able to end a container by a word. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "shim.h"

static void refuse(const struct shim_packet *asked, enum packet_type type, int error) {
  struct shim_packet packet = { .type = (uint16_t) type, .tag = asked->tag, .op = asked->op, .error = error, .slot = asked->slot, .time_ns = now_ns() };
  connection_send(NULL, &packet, 0, NULL, 0);
}

/* The daemon's grammar of ids; the id names a directory. */
static bool is_id(const char *id, size_t length) {
  if (length == 0 || length > MOST_ID || *id == '.' || *id == '_' || *id == '-') return false;
  for (size_t i = 0; i < length; i++) {
    bool letter = (id[i] >= 'a' && id[i] <= 'z') || (id[i] >= 'A' && id[i] <= 'Z') || (id[i] >= '0' && id[i] <= '9');
    if (!letter && id[i] != '.' && id[i] != '_' && id[i] != '-') return false;
  }
  return true;
}

/* Its directory has its log and its exit record: nobody else's. */
static bool is_taken(const char *id) {
  for (unsigned slot = 1; slot < slots_used; slot++) {
    if (processes[slot].used && strcmp(processes[slot].id, id) == 0) return true;
  }
  return false;
}

static void ask_exec(const struct shim_packet *packet, const char *payload, size_t length) {
  struct exec_payload head;
  char id[MOST_ID + 1] = "";
  int error = 0;
  if (packet->slot == 0 || packet->slot >= SLOTS || length <= sizeof head || !is_id(payload + sizeof head, length - sizeof head)) error = EINVAL;
  else if (processes[packet->slot].used) error = EBUSY;
  if (error == 0) {
    memcpy(&head, payload, sizeof head);
    memcpy(id, payload + sizeof head, length - sizeof head);
    if (is_taken(id)) error = EEXIST;
  }
  if (error != 0) {
    refuse(packet, PACKET_RESULT, error);
    return;
  }
  exec_begin(&processes[packet->slot], packet, id, head.window);
}

static void ask(const struct shim_packet *packet, const char *payload, size_t length) {
  struct process *process = packet->slot < SLOTS && processes[packet->slot].used ? &processes[packet->slot] : NULL;
  bool bare = length == 0;
  struct window window;
  switch ((enum packet_type) packet->type) {
    case PACKET_OP:
      if (packet->op == OP_EXEC) ask_exec(packet, payload, length);
      else if (bare && packet->slot == 0) start_op(packet->op, packet->tag);
      else refuse(packet, PACKET_RESULT, EINVAL);
      break;
    case PACKET_ABORT:
      if (bare && process != NULL) runtime_abort(process);
      if (bare && process == processes) start_abort();
      break;
    case PACKET_ACK:
      failpoint("ack", "heard");
      if (bare && process != NULL) acknowledge(process);
      failpoint("ack", "done");
      break;
    case PACKET_QUIT:
      failpoint("quit", "heard");
      if (bare) may_quit();
      break;
    case PACKET_FOLLOW:
      if (bare && process != NULL) follow_ask(process, packet->tag, packet->count);
      else refuse(packet, PACKET_NOTICE, bare ? ESRCH : EINVAL);
      break;
    case PACKET_INPUT:
      if (!bare && process != NULL) input_take(process, packet->tag, payload, length);
      else refuse(packet, PACKET_INPUT_RESULT, bare ? EINVAL : EPIPE);
      break;
    case PACKET_CLOSE_INPUT:
      if (bare && process != NULL) input_close(process);
      break;
    case PACKET_RESIZE:
      if (length != sizeof window || process == NULL) break;
      memcpy(&window, payload, sizeof window);
      process->window = window;
      console_resize(process, window);
      break;
    default:
      break;
  }
}

void on_connection(void) {
  struct shim_packet packet;
  while (connection >= 0) {
    struct iovec parts[2] = { { &packet, sizeof packet }, { buffer, sizeof buffer } };
    struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };
    ssize_t length = recvmsg(connection, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    /* A daemon that closes with packets unread leaves ECONNRESET before what it had sent, once: acknowledgements may be among that. */
    if (length < 0 && (errno == EINTR || errno == ECONNRESET)) continue;
    if (length < 0 && errno == EAGAIN) return;
    if (length <= 0) {
      connection_drop();
      return;
    }
    if ((message.msg_flags & MSG_TRUNC) != 0 || (size_t) length < sizeof packet || packet.version != SHIM_PROTOCOL) continue;
    ask(&packet, buffer, (size_t) length - sizeof packet);
  }
}
