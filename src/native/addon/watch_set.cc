#include "watch_set.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <system_error>

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

namespace {

constexpr int kBatch = 256;
// Waits without a pause: a flood of events leaves the loop its turn.
constexpr int kBatches = 16;
constexpr size_t kPacketLimit = 4096;
// Packets read from one connection in one turn, so that a chatty one cannot hold up the others.
constexpr int kPacketsAtOnce = 64;

// struct pidfd_info of linux/pidfd.h, first version (64 bytes), with the exit code of Linux 6.15.
struct PidfdInfo {
  uint64_t mask;
  uint64_t cgroupid;
  uint32_t pid, tgid, ppid, ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid;
  int32_t exit_code;
};
static_assert(sizeof(PidfdInfo) == 64, "the kernel tells the version by the size");
constexpr uint64_t kPidfdInfoExit = 1 << 3;
constexpr unsigned long kPidfdGetInfo = _IOWR(0xFF, 11, PidfdInfo);

// The raw wait status of a process that has ended. One that this addon started is reaped here; another child of this
// process is only looked at, since whoever started it waits for it (Node for its own); of a stranger, what the kernel
// keeps once its parent has reaped it.
std::optional<int> StatusOf(int pidfd, bool reap) {
  siginfo_t info{};
  const int options = WEXITED | WNOHANG | (reap ? 0 : WNOWAIT);
  if (waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(pidfd), &info, options) == 0 && info.si_pid != 0) {
    if (info.si_code == CLD_EXITED) return (info.si_status & 0xff) << 8;
    return info.si_status & 0x7f;
  }
  PidfdInfo kept{};
  kept.mask = kPidfdInfoExit;
  if (ioctl(pidfd, kPidfdGetInfo, &kept) == 0 && (kept.mask & kPidfdInfoExit) != 0) return kept.exit_code;
  return std::nullopt;
}

// Whether the kernel keeps the status of a process that was reaped for those who hold its pidfd; there is no other way to ask.
bool KeepsStatus() {
  static const bool keeps = [] {
    utsname name{};
    int major = 0;
    int minor = 0;
    if (uname(&name) != 0 || std::sscanf(name.release, "%d.%d", &major, &minor) != 2) return false;
    return major > 6 || (major == 6 && minor >= 15);
  }();
  return keeps;
}

// The field oom_kill of memory.oom_control (v1) or memory.events (v2).
std::optional<uint64_t> OomKills(int fd) {
  char text[1024];
  const ssize_t length = pread(fd, text, sizeof text - 1, 0);
  if (length <= 0) return std::nullopt;
  text[length] = '\0';
  for (const char* line = text; line != nullptr; line = std::strchr(line, '\n')) {
    if (*line == '\n') line++;
    if (std::strncmp(line, "oom_kill ", 9) == 0) return std::strtoull(line + 9, nullptr, 10);
  }
  return std::nullopt;
}

}  // namespace

WatchSet::WatchSet() : epoll_(epoll_create1(EPOLL_CLOEXEC)) {
  if (!epoll_) throw std::system_error(errno, std::generic_category(), "epoll_create1");
}

uint32_t WatchSet::Add(Kind kind, UniqueFd fd, UniqueFd extra) {
  if (closed_) {
    errno = ECANCELED;
    return 0;
  }
  const uint32_t token = next_++;
  epoll_event event{};
  event.events = kind == Kind::kOom2 ? EPOLLPRI : EPOLLIN;
  event.data.u64 = token;
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd.get(), &event) < 0) return 0;
  Entry entry{kind, std::move(fd), std::move(extra)};
  if (kind == Kind::kOom2) entry.told = OomKills(entry.fd.get()).value_or(0);
  entries_.emplace(token, std::move(entry));
  return token;
}

void WatchSet::Unwatch(Entry* entry) {
  if (!entry->watched) return;
  entry->watched = false;
  // Fails only for a descriptor that is not in the set, which is what is wanted.
  (void)epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, entry->fd.get(), nullptr);
}

// A stranger that has ended is a zombie until its parent reaps it, and the kernel tells its status only then: a pidfd hangs up at
// that moment (Linux 6.9), a hang-up is told without being asked for (epoll_ctl(2)), and the status is kept (Linux 6.15).
bool WatchSet::AwaitReaped(uint32_t token, const Entry* entry) {
  if (entry->kind != Kind::kProcess || !KeepsStatus()) return false;
  epoll_event event{};
  event.data.u64 = token;
  return epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, entry->fd.get(), &event) == 0;
}

// The end of a shim's process is seen at the same moment as by the shim, which tells more of it and soon. Handing it on at once
// would only be in the way of that; it is read again when the shim is late, or lost.
bool WatchSet::PutAside(uint32_t token, Entry* entry) {
  const auto teller = entries_.find(entry->teller);
  entry->teller = 0;
  if (teller == entries_.end() || !teller->second.watched) return false;
  Unwatch(entry);
  aside_.push_back(token);
  return true;
}

void WatchSet::EndPatience() {
  const auto done = [this](uint32_t token) {
    const auto found = entries_.find(token);
    if (found == entries_.end()) return true;
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = token;
    // For want of memory, or of watches: the next end of patience tries again.
    found->second.watched = epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, found->second.fd.get(), &event) == 0;
    return found->second.watched;
  };
  aside_.erase(std::remove_if(aside_.begin(), aside_.end(), done), aside_.end());
}

void WatchSet::Drop(uint32_t token) {
  const auto found = entries_.find(token);
  if (found == entries_.end()) return;
  Unwatch(&found->second);
  entries_.erase(found);
}

void WatchSet::Close() {
  closed_ = true;
  entries_.clear();
  aside_.clear();
  looking_.clear();
}

size_t WatchSet::size() const {
  size_t watched = 0;
  for (const auto& [token, entry] : entries_) watched += entry.watched ? 1 : 0;
  return watched;
}

int WatchSet::Signal(uint32_t token, int signal) {
  const auto found = entries_.find(token);
  if (found == entries_.end() || (found->second.kind != Kind::kProcess && found->second.kind != Kind::kChild)) return ESRCH;
  return syscall(SYS_pidfd_send_signal, found->second.fd.get(), signal, nullptr, 0) < 0 ? errno : 0;
}

int WatchSet::Process(uint32_t token) const {
  const auto found = entries_.find(token);
  if (found == entries_.end() || (found->second.kind != Kind::kProcess && found->second.kind != Kind::kChild)) return -1;
  return found->second.fd.get();
}

int WatchSet::Send(uint32_t token, const uint8_t* bytes, size_t length) {
  const auto found = entries_.find(token);
  if (found == entries_.end() || found->second.kind != Kind::kConnection) return EPIPE;
  ssize_t sent;
  do {
    sent = send(found->second.fd.get(), bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent < 0 ? errno : 0;
}

void WatchSet::Read(std::vector<Notice>* batch) {
  for (int round = 0; round < kBatches; round++) {
    epoll_event events[kBatch];
    // A closed set has nothing to say, and a signal only ends a wait that has a length.
    const int count = closed_ ? 0 : epoll_wait(epoll_.get(), events, kBatch, 0);
    for (int i = 0; i < count; i++) ReadOne(static_cast<uint32_t>(events[i].data.u64), events[i].events, batch);
    if (count < kBatch) return;
  }
}

uint64_t WatchSet::Look(std::vector<Notice>* batch) {
  std::vector<uint32_t> tokens;
  tokens.swap(looking_);
  for (const uint32_t token : tokens) {
    const auto found = entries_.find(token);
    if (found == entries_.end() || !found->second.watched) continue;
    Entry& entry = found->second;
    if (!LookAtCount(token, &entry, entry.extra.get(), batch) && entry.watched && --entry.looks > 0) looking_.push_back(token);
  }
  return looking();
}

void WatchSet::ReadOne(uint32_t token, uint32_t events, std::vector<Notice>* batch) {
  const auto found = entries_.find(token);
  if (found == entries_.end()) return;
  Entry* entry = &found->second;
  switch (entry->kind) {
    case Kind::kConnection: {
      const size_t before = batch->size();
      ReadConnection(token, entry, batch);
      // A hang-up without anything left to read, which a pending error can hide from recv.
      Entry& again = entries_.at(token);
      if (again.watched && batch->size() == before && (events & (EPOLLHUP | EPOLLERR)) != 0) {
        Hangup(&again, token, batch);
      }
      return;
    }
    case Kind::kChild:
    case Kind::kProcess: {
      if (PutAside(token, entry)) return;
      Notice notice{Notice::Type::kExit, token, {}, 0, StatusOf(entry->fd.get(), entry->kind == Kind::kChild), 0, true};
      notice.final = notice.status.has_value() || (events & EPOLLHUP) != 0 || !AwaitReaped(token, entry);
      if (notice.final) Unwatch(entry);
      batch->push_back(std::move(notice));
      return;
    }
    case Kind::kOom1: {
      uint64_t value = 0;
      const ssize_t length = read(entry->fd.get(), &value, sizeof value);
      if (length != sizeof value) return;
      // The kernel tells of the want of memory before it kills and counts: look again until the count has gone up.
      if (!LookAtCount(token, entry, entry->extra.get(), batch) && entry->watched) {
        if (entry->looks == 0) looking_.push_back(token);
        entry->looks = kLooks;
      }
      return;
    }
    case Kind::kOom2:
      LookAtCount(token, entry, entry->fd.get(), batch);
      return;
  }
}

// Tells of a count that has gone up. A group that is gone is signalled too, and is no OOM kill: it is not watched any more.
bool WatchSet::LookAtCount(uint32_t token, Entry* entry, int fd, std::vector<Notice>* batch) {
  const auto kills = OomKills(fd);
  if (!kills.has_value()) {
    Unwatch(entry);
    return false;
  }
  if (*kills <= entry->told) return false;
  entry->told = *kills;
  entry->looks = 0;
  batch->push_back({Notice::Type::kOom, token, {}, 0, std::nullopt, *kills, true});
  return true;
}

void WatchSet::Hangup(Entry* entry, uint32_t token, std::vector<Notice>* batch) {
  Unwatch(entry);
  batch->push_back({Notice::Type::kHangup, token, {}, 0, std::nullopt, 0, true});
  EndPatience();
}

void WatchSet::ReadConnection(uint32_t token, Entry* entry, std::vector<Notice>* batch) {
  const int fd = entry->fd.get();
  for (int i = 0; i < kPacketsAtOnce; i++) {
    uint8_t bytes[kPacketLimit];
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * 4)];
    iovec part{bytes, sizeof bytes};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    ssize_t length;
    do {
      length = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    } while (length < 0 && errno == EINTR);
    if (length < 0 && errno == EAGAIN) return;
    // A peer that closes with packets unread leaves this error, which comes before what it had sent, once (unix_release_sock() in
    // net/unix/af_unix.c): that may be the only word of an exit.
    if (length < 0 && errno == ECONNRESET) continue;
    if (length <= 0) {
      Hangup(&entries_.at(token), token, batch);
      return;
    }
    Notice notice{Notice::Type::kPacket, token, std::vector<uint8_t>(bytes, bytes + length), 0, std::nullopt, 0, true};
    for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
      if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
      const size_t many = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (size_t k = 0; k < many; k++) {
        int received;
        std::memcpy(&received, CMSG_DATA(header) + k * sizeof received, sizeof received);
        UniqueFd owned(received);
        // Adding may move the entries: `entry` is not used after this.
        if (notice.pidfd != 0) continue;
        notice.pidfd = Add(Kind::kProcess, std::move(owned), UniqueFd());
        if (notice.pidfd != 0) entries_.at(notice.pidfd).teller = token;
      }
    }
    batch->push_back(std::move(notice));
  }
}
