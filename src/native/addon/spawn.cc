#include "spawn.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace {

constexpr const char* kSocketName = "shim.sock";

// A path of a socket must fit in 108 bytes (unix(7)): name it by way of the directory's descriptor.
Failure SocketAddress(int directory, sockaddr_un* address) {
  *address = {};
  address->sun_family = AF_UNIX;
  const int length = std::snprintf(address->sun_path, sizeof address->sun_path, "/proc/self/fd/%d/%s", directory, kSocketName);
  if (length < 0 || static_cast<size_t>(length) >= sizeof address->sun_path) return {ENAMETOOLONG, "bind"};
  return {};
}

std::vector<char*> Pointers(const std::string* first, const std::vector<std::string>& rest) {
  std::vector<char*> list;
  if (first != nullptr) list.push_back(const_cast<char*>(first->c_str()));
  for (const auto& one : rest) list.push_back(const_cast<char*>(one.c_str()));
  list.push_back(nullptr);
  return list;
}

// posix_spawn's attributes and actions, destroyed on every path.
class Plan {
 public:
  Plan() {
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_init(&actions);
    sigset_t none;
    sigset_t all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  }
  ~Plan() {
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
  }
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_t actions;
};

// glibc's posix_spawn shares the memory until the exec (CLONE_VM | CLONE_VFORK): the big process is never copied.
Failure Spawn(const Plan& plan, const std::string& path, const std::vector<std::string>& args, const std::vector<std::string>& env, Spawned* spawned) {
  auto argv = Pointers(&path, args);
  auto envp = Pointers(nullptr, env);
  pid_t pid = 0;
  const int error = posix_spawn(&pid, path.c_str(), &plan.actions, &plan.attributes, argv.data(), envp.data());
  if (error != 0) return {error, "posix_spawn"};
  // Our child, not waited for yet: the pid is its own.
  spawned->process = UniqueFd(PidfdOpen(pid));
  if (!spawned->process) {
    const int failed = errno;
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
    return {failed, "pidfd_open"};
  }
  spawned->pid = pid;
  return {};
}

}  // namespace

int PidfdOpen(int pid) {
  // The kernel sets close-on-exec by itself (pidfd_open(2)).
  return static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
}

Failure SpawnShim(const std::string& path, const std::vector<std::string>& args, const std::vector<std::string>& env, const std::string& run_dir, Spawned* spawned) {
  const UniqueFd directory(open(run_dir.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return {errno, "open"};
  // The daemon binds the name before the shim exists, so that a daemon that dies in between is not looked for in vain:
  // the name answers as long as a shim holds the socket, and refuses when none does.
  const UniqueFd listener(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!listener) return {errno, "socket"};
  sockaddr_un address;
  if (const Failure failure = SocketAddress(directory.get(), &address); failure.error != 0) return failure;
  if (bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) < 0) return {errno, "bind"};
  if (listen(listener.get(), 4) < 0) return {errno, "listen"};
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) return {errno, "socketpair"};
  UniqueFd ours(pair[0]);
  const UniqueFd theirs(pair[1]);
  // Out of the way of 3 and 4, which the actions below overwrite.
  const UniqueFd high_connection(fcntl(theirs.get(), F_DUPFD_CLOEXEC, 10));
  const UniqueFd high_listener(fcntl(listener.get(), F_DUPFD_CLOEXEC, 10));
  const UniqueFd high_directory(open(run_dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!high_connection || !high_listener || !high_directory) return {errno, "fcntl"};
  Plan plan;
  posix_spawn_file_actions_addchdir_np(&plan.actions, run_dir.c_str());
  posix_spawn_file_actions_addopen(&plan.actions, 0, "/dev/null", O_RDWR, 0);
  posix_spawn_file_actions_adddup2(&plan.actions, 0, 1);
  posix_spawn_file_actions_adddup2(&plan.actions, 0, 2);
  posix_spawn_file_actions_adddup2(&plan.actions, high_connection.get(), 3);
  posix_spawn_file_actions_adddup2(&plan.actions, high_listener.get(), 4);
  if (const Failure failure = Spawn(plan, path, args, env, spawned); failure.error != 0) {
    (void)unlinkat(high_directory.get(), kSocketName, 0);
    return failure;
  }
  spawned->connection = std::move(ours);
  return {};
}

Failure ConnectShim(const std::string& run_dir, Spawned* spawned) {
  const UniqueFd directory(open(run_dir.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!directory) return {errno, "open"};
  UniqueFd connection(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!connection) return {errno, "socket"};
  sockaddr_un address;
  if (const Failure failure = SocketAddress(directory.get(), &address); failure.error != 0) return failure;
  if (connect(connection.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) < 0) return {errno, "connect"};
  ucred peer{};
  socklen_t size = sizeof peer;
  if (getsockopt(connection.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0) return {errno, "getsockopt"};
  if (peer.uid != geteuid()) return {EPERM, "getsockopt"};
  UniqueFd process(PidfdOpen(peer.pid));
  if (!process) return {errno, "pidfd_open"};
  // The pid was the shim's when the socket was listened on. If the connection still stands, it is alive, and so the pid its own.
  pollfd state{connection.get(), POLLIN, 0};
  if (poll(&state, 1, 0) < 0) return {errno, "poll"};
  if ((state.revents & (POLLHUP | POLLERR)) != 0) return {ECONNRESET, "connect"};
  spawned->pid = peer.pid;
  spawned->process = std::move(process);
  spawned->connection = std::move(connection);
  return {};
}

Failure SpawnHelper(const std::string& path, const std::vector<std::string>& args, const std::vector<std::string>& env, const std::string& cwd, const std::string& output, Spawned* spawned) {
  const UniqueFd file(open(output.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file) return {errno, "open"};
  Plan plan;
  if (!cwd.empty()) posix_spawn_file_actions_addchdir_np(&plan.actions, cwd.c_str());
  posix_spawn_file_actions_addopen(&plan.actions, 0, "/dev/null", O_RDWR, 0);
  posix_spawn_file_actions_adddup2(&plan.actions, file.get(), 1);
  posix_spawn_file_actions_adddup2(&plan.actions, file.get(), 2);
  return Spawn(plan, path, args, env, spawned);
}
