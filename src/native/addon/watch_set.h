// The descriptors that are watched, and what is read from them. Knows nothing of JavaScript; used by one thread.
#pragma once

#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

#include "unique_fd.h"

// kChild: a process that this addon started, and so has to reap; kProcess: any other, which is somebody else's to reap
enum class Kind : uint8_t { kConnection, kChild, kProcess, kOom1, kOom2 };

struct Notice {
  enum class Type : uint8_t { kPacket, kHangup, kExit, kOom };
  Type type;
  uint32_t token;
  std::vector<uint8_t> packet;
  uint32_t pidfd = 0;              // packet: token of a descriptor that came along, 0 for none
  std::optional<int> status;       // exit: raw wait status, where it can be known
  uint64_t count = 0;              // oom
  bool final = true;               // exit: false when its status may be told once its parent has reaped it, in another notice
};

class WatchSet {
 public:
  // Throws std::system_error when the kernel refuses an epoll or event descriptor.
  WatchSet();

  // Takes the descriptor over; returns its token, never used again, or 0 with errno set.
  uint32_t Add(Kind kind, UniqueFd fd, UniqueFd extra = UniqueFd());
  void Drop(uint32_t token);
  // Closes everything; nothing is added from then on.
  void Close();
  size_t size() const;

  // Both return 0 or an errno; ESRCH and EPIPE for a token that is gone.
  int Signal(uint32_t token, int signal);
  // The pidfd of a watched process, which stays the set's own; -1 for a token that is gone.
  int Process(uint32_t token) const;
  int Send(uint32_t token, const uint8_t* bytes, size_t length);

  // Reads all that is ready now, without waiting.
  void Read(std::vector<Notice>* batch);
  // Looks again at the counts that are expected to go up; how long until the next look, 0 for none.
  uint64_t Look(std::vector<Notice>* batch);
  uint64_t looking() const { return looking_.empty() ? 0 : kLookMilliseconds; }

  // Ends that the shims have not told of meanwhile are read again; how long until they are when there are any, 0 for none.
  void EndPatience();
  uint64_t patience() const { return aside_.empty() ? 0 : kPatienceMilliseconds; }

  // The set's own descriptor, readable while anything in it is.
  int descriptor() const { return epoll_.get(); }

 private:
  struct Entry {
    Kind kind;
    UniqueFd fd;
    UniqueFd extra;  // v1: memory.oom_control, to read the count from
    bool watched = true;
    uint64_t told = 0;
    uint32_t teller = 0;  // process: the connection of the shim that is going to tell of its end
    int looks = 0;  // v1: how often the count is still to be looked at
  };

  // A shim tells of an end within a millisecond.
  static constexpr uint64_t kPatienceMilliseconds = 100;
  // A killed process may take a while to be counted: a second in all.
  static constexpr uint64_t kLookMilliseconds = 5;
  static constexpr int kLooks = 200;

  void ReadOne(uint32_t token, uint32_t events, std::vector<Notice>* batch);
  void Hangup(Entry* entry, uint32_t token, std::vector<Notice>* batch);
  void ReadConnection(uint32_t token, Entry* entry, std::vector<Notice>* batch);
  bool LookAtCount(uint32_t token, Entry* entry, int fd, std::vector<Notice>* batch);
  void Unwatch(Entry* entry);
  bool PutAside(uint32_t token, Entry* entry);
  bool AwaitReaped(uint32_t token, const Entry* entry);

  UniqueFd epoll_;
  bool closed_ = false;
  uint32_t next_ = 1;
  std::unordered_map<uint32_t, Entry> entries_;
  std::vector<uint32_t> aside_;    // processes that have ended, of which their shims are expected to tell
  std::vector<uint32_t> looking_;  // v1 groups whose count is expected to go up
};
