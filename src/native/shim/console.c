/* Terminals: the runtime makes them, and hands the master over a socket that is named to it (OCI runtime command line, --console-socket). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "shim.h"

/* In the shim's working directory: a whole path might not fit in the 108 bytes of a socket's name (unix(7)). */
void console_name(const struct process *process, char *name, size_t size) {
  (void) snprintf(name, size, "c%u.sock", slot_of(process));
}

int console_open(struct process *process) {
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  console_name(process, address.sun_path, sizeof address.sun_path);
  (void) unlink(address.sun_path);
  int console = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (console < 0) return errno;
  if (bind(console, (struct sockaddr *) &address, sizeof address) < 0 || listen(console, 1) < 0) {
    int error = errno;
    close(console);
    return error;
  }
  process->console = console;
  watch(console, FROM_CONSOLE, process, EPOLLIN);
  return 0;
}

void console_accept(struct process *process) {
  union { char bytes[CMSG_SPACE(sizeof(int))]; struct cmsghdr align; } control;
  char name[256];
  struct iovec part = { name, sizeof name };
  struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes };
  if (process->console < 0) return;
  int peer = accept4(process->console, NULL, NULL, SOCK_CLOEXEC);
  if (peer < 0) return;
  struct timeval limit = { .tv_sec = 5 };
  (void) setsockopt(peer, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  ssize_t length = recvmsg(peer, &message, MSG_CMSG_CLOEXEC);
  close(peer);
  struct cmsghdr *header = length >= 0 ? CMSG_FIRSTHDR(&message) : NULL;
  if (header == NULL || header->cmsg_type != SCM_RIGHTS) return;
  int master;
  memcpy(&master, CMSG_DATA(header), sizeof master);
  if (process->output[STREAM_STDOUT] >= 0 || fcntl(master, F_SETFL, O_NONBLOCK) < 0) {
    close(master);
    return;
  }
  process->output[STREAM_STDOUT] = master;
  watch(master, FROM_STDOUT, process, EPOLLIN);
  console_resize(process, process->window);
  input_write(process);
}

void console_close(struct process *process) {
  char name[32];
  if (process->console < 0) return;
  /* The runtime may have ended before its connection was looked at. */
  console_accept(process);
  close(process->console);
  process->console = -1;
  console_name(process, name, sizeof name);
  (void) unlink(name);
}

/* The kernel sends SIGWINCH to the foreground processes when the size is another one (ioctl_tty(2)). */
void console_resize(const struct process *process, struct window window) {
  struct winsize size = { .ws_col = window.width, .ws_row = window.height };
  if (process->terminal && process->output[STREAM_STDOUT] >= 0) (void) ioctl(process->output[STREAM_STDOUT], TIOCSWINSZ, &size); /* fails only for one that is gone */
}
