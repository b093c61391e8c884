/* The daemon's end of the talk: one connection at a time, the newest one that comes to the listening socket. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "shim.h"

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif

int connection = 3;

void connection_drop(void) {
  if (connection >= 0) close(connection);
  connection = -1;
  /* Whoever comes next asks for itself. */
  for (unsigned slot = 0; slot < slots_used; slot++) processes[slot].follow.armed = false;
}

void connection_send(const struct process *process, struct shim_packet *packet, pid_t pidfd_of, const char *payload, size_t length) {
  union { char bytes[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } control;
  if (connection < 0) return;
  packet->version = SHIM_PROTOCOL;
  packet->shim_pid = getpid();
  if (process != NULL) {
    packet->slot = (uint16_t) slot_of(process);
    packet->state = process->state;
    packet->lost_bytes = process->log.lost;
  }
  struct iovec parts[2] = { { packet, sizeof *packet }, { (void *) payload, length } };
  struct msghdr message = { .msg_iov = parts, .msg_iovlen = length > 0 ? 2 : 1 };
  int pidfd = pidfd_of > 0 ? (int) syscall(SYS_pidfd_open, pidfd_of, 0) : -1;
  if (pidfd >= 0) {
    memset(&control, 0, sizeof control);
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof control.bytes;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &pidfd, sizeof pidfd);
  }
  ssize_t sent;
  do sent = sendmsg(connection, &message, MSG_DONTWAIT | MSG_NOSIGNAL); while (sent < 0 && errno == EINTR);
  if (pidfd >= 0) close(pidfd);
  if (sent < 0) connection_drop();
}

bool connection_accept(int listener) {
  int peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (peer < 0) return false;
  struct ucred who;
  socklen_t size = sizeof who;
  if (getsockopt(peer, SOL_SOCKET, SO_PEERCRED, &who, &size) < 0 || who.uid != geteuid()) {
    close(peer);
    return false;
  }
  connection_drop();
  connection = peer;
  return true;
}
