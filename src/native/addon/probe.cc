#include "probe.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <ctime>

namespace {

constexpr size_t kLineLimit = 4096;

int64_t Now() {
  timespec time{};
  // Cannot fail for a clock that every kernel has.
  (void)clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<int64_t>(time.tv_sec) * 1000 + time.tv_nsec / 1000000;
}

struct Address {
  sockaddr_storage storage{};
  socklen_t length = 0;
  std::string name;
};

Address Loopback(int family, uint16_t port) {
  Address address;
  if (family == AF_INET) {
    auto* in = reinterpret_cast<sockaddr_in*>(&address.storage);
    in->sin_family = AF_INET;
    in->sin_port = htons(port);
    in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.length = sizeof *in;
    address.name = "127.0.0.1:" + std::to_string(port);
  } else {
    auto* in = reinterpret_cast<sockaddr_in6*>(&address.storage);
    in->sin6_family = AF_INET6;
    in->sin6_port = htons(port);
    in->sin6_addr = in6addr_loopback;
    address.length = sizeof *in;
    address.name = "[::1]:" + std::to_string(port);
  }
  return address;
}

// Waits for the events until the deadline; 0, ETIMEDOUT or another errno.
int Wait(int fd, short events, int64_t deadline) {
  for (;;) {
    const int64_t left = deadline - Now();
    if (left <= 0) return ETIMEDOUT;
    pollfd state{fd, events, 0};
    const int ready = poll(&state, 1, static_cast<int>(std::min<int64_t>(left, 1000000)));
    if (ready > 0) return 0;
    if (ready < 0 && errno != EINTR) return errno;
  }
}

// A port that nobody listens on can be given to our own end, which is then connected with itself (simultaneous open, RFC 9293 3.5).
bool ConnectedToItself(int fd) {
  sockaddr_storage ours{};
  sockaddr_storage theirs{};
  socklen_t our_length = sizeof ours;
  socklen_t their_length = sizeof theirs;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&ours), &our_length) < 0) return false;
  if (getpeername(fd, reinterpret_cast<sockaddr*>(&theirs), &their_length) < 0) return false;
  return our_length == their_length && std::memcmp(&ours, &theirs, our_length) == 0;
}

// 0 with a connected socket, or an errno.
int Connect(const Address& address, int64_t deadline, UniqueFd* connected) {
  UniqueFd fd(socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return errno;
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address.storage), address.length) < 0) {
    if (errno != EINPROGRESS) return errno;
    if (const int error = Wait(fd.get(), POLLOUT, deadline); error != 0) return error;
    int error = 0;
    socklen_t size = sizeof error;
    if (getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size) < 0) return errno;
    if (error != 0) return error;
  }
  if (ConnectedToItself(fd.get())) return ECONNREFUSED;
  *connected = std::move(fd);
  return 0;
}

std::string Reason(int error, int64_t milliseconds) {
  if (error != ETIMEDOUT) return std::strerror(error);
  char seconds[32];
  (void)std::snprintf(seconds, sizeof seconds, "%g", static_cast<double>(milliseconds) / 1000);
  return std::string("no answer within ") + seconds + " s";
}

int SendAll(int fd, const std::string& text, int64_t deadline) {
  for (size_t at = 0; at < text.size();) {
    const ssize_t sent = send(fd, text.data() + at, text.size() - at, MSG_NOSIGNAL);
    if (sent > 0) at += static_cast<size_t>(sent);
    else if (errno == EAGAIN) {
      if (const int error = Wait(fd, POLLOUT, deadline); error != 0) return error;
    } else if (errno != EINTR) return errno;
  }
  return 0;
}

// The first line, without its end. A server that ends the connection before the line's end has said what it had to say.
int ReadLine(int fd, int64_t deadline, std::string* line) {
  for (;;) {
    char bytes[1024];
    const ssize_t length = recv(fd, bytes, std::min(sizeof bytes, kLineLimit - line->size()), 0);
    if (length == 0) return 0;
    if (length > 0) {
      line->append(bytes, static_cast<size_t>(length));
      if (const size_t end = line->find('\n'); end != std::string::npos) {
        line->resize(end > 0 && (*line)[end - 1] == '\r' ? end - 1 : end);
        return 0;
      }
      if (line->size() >= kLineLimit) return 0;
    } else if (errno == EAGAIN) {
      if (const int error = Wait(fd, POLLIN, deadline); error != 0) return error;
    } else if (errno != EINTR) {
      return errno;
    }
  }
}

// RFC 9112, section 4: HTTP-version SP status-code SP …; 0 for anything else.
int StatusOf(const std::string& line) {
  const auto digit = [&line](size_t at) { return line[at] >= '0' && line[at] <= '9'; };
  if (line.size() < 12 || line.compare(0, 5, "HTTP/") != 0 || !digit(5) || line[6] != '.' || !digit(7) || line[8] != ' ') return 0;
  if (!digit(9) || !digit(10) || !digit(11) || (line.size() > 12 && line[12] != ' ')) return 0;
  return (line[9] - '0') * 100 + (line[10] - '0') * 10 + (line[11] - '0');
}

ProbeResult Ask(int fd, const ProbeTarget& target, int64_t deadline) {
  const std::string request = "GET " + target.path + " HTTP/1.1\r\nHost: localhost:" + std::to_string(target.port) +
                              "\r\nUser-Agent: longshore-health\r\nAccept: */*\r\nConnection: close\r\n\r\n";
  std::string line;
  int error = SendAll(fd, request, deadline);
  if (error == 0) error = ReadLine(fd, deadline, &line);
  if (error != 0) return {false, "GET " + target.path + ": " + Reason(error, target.milliseconds)};
  const int status = StatusOf(line);
  if (status == 0) return {false, line.empty() ? "GET " + target.path + ": the connection was closed without an answer" : "no HTTP: " + line};
  return {status >= 200 && status <= 399, line};
}

}  // namespace

int OpenNetwork(int pidfd, int pid, UniqueFd* network) {
  char path[64];
  (void)std::snprintf(path, sizeof path, "/proc/%d/ns/net", pid);
  UniqueFd fd(open(path, O_RDONLY | O_CLOEXEC));
  if (!fd) return errno == ENOENT ? ESRCH : errno;
  // Not reaped by now, so that the pid was its own when the name was opened.
  if (syscall(SYS_pidfd_send_signal, pidfd, 0, nullptr, 0) < 0) return errno;
  *network = std::move(fd);
  return 0;
}

ProbeResult RunProbe(const ProbeTarget& target) {
  const int64_t deadline = Now() + target.milliseconds;
  if (setns(target.network.get(), CLONE_NEWNET) < 0) return {false, std::string("the network namespace cannot be entered: ") + std::strerror(errno)};
  std::string reasons;
  for (const int family : {AF_INET, AF_INET6}) {
    const Address address = Loopback(family, target.port);
    UniqueFd fd;
    const int error = Connect(address, deadline, &fd);
    if (error == 0) return target.path.empty() ? ProbeResult{true, "connected to " + address.name} : Ask(fd.get(), target, deadline);
    reasons += (reasons.empty() ? "" : "; ") + address.name + ": " + Reason(error, target.milliseconds);
  }
  return {false, reasons};
}
