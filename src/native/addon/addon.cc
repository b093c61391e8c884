#include <fcntl.h>
#include <napi.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <ctime>
#include <string>

#include "errors.h"
#include "fanout.h"
#include "file_errand.h"
#include "mapped_file.h"
#include "memory.h"
#include "monitor.h"
#include "read_files.h"
#include "turns.h"
#include "unique_fd.h"

const char* ErrnoName(int error) {
  const char* name = strerrorname_np(error);
  return name == nullptr ? "UNKNOWN" : name;
}

namespace {

// One daemon for each root: flock(2), which goes with the process however it ends. Returns the descriptor.
Napi::Value Lock(const Napi::CallbackInfo& info) {
  UniqueFd fd(open(info[0].ToString().Utf8Value().c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) throw SystemError(info.Env(), errno, "open");
  if (flock(fd.get(), LOCK_EX | LOCK_NB) < 0) {
    // EAGAIN and EWOULDBLOCK are one number on Linux; flock(2) documents the latter.
    if (errno == EWOULDBLOCK) {
      auto error = SystemError(info.Env(), errno, "flock");
      error.Set("code", Napi::String::New(info.Env(), "EWOULDBLOCK"));
      throw error;
    }
    throw SystemError(info.Env(), errno, "flock");
  }
  return Napi::Number::New(info.Env(), fd.release());
}

void Unlock(const Napi::CallbackInfo& info) { const UniqueFd fd(info[0].ToNumber().Int32Value()); }

// One datagram to the service manager (sd_notify(3)); a name that begins with @ is an abstract socket.
void Notify(const Napi::CallbackInfo& info) {
  const std::string path = info[0].ToString().Utf8Value();
  const std::string text = info[1].ToString().Utf8Value();
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) throw SystemError(info.Env(), EINVAL, "sendto");
  std::memcpy(address.sun_path, path.data(), path.size());
  if (address.sun_path[0] == '@') address.sun_path[0] = '\0';
  const UniqueFd fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd) throw SystemError(info.Env(), errno, "socket");
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
  if (sendto(fd.get(), text.data(), text.size(), MSG_NOSIGNAL, reinterpret_cast<sockaddr*>(&address), length) < 0) {
    throw SystemError(info.Env(), errno, "sendto");
  }
}

Napi::Value Now(const Napi::CallbackInfo& info) {
  timespec time{};
  if (clock_gettime(CLOCK_REALTIME, &time) < 0) throw SystemError(info.Env(), errno, "clock_gettime");
  return Napi::BigInt::New(info.Env(), static_cast<int64_t>(time.tv_sec) * 1000000000 + time.tv_nsec);
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  exports.Set("Monitor", Monitor::Define(env));
  exports.Set("Fanout", Fanout::Define(env));
  exports.Set("mapFile", Napi::Function::New<MapFile>(env));
  exports.Set("writeRecord", Napi::Function::New<WriteRecord>(env));
  exports.Set("lock", Napi::Function::New<Lock>(env));
  exports.Set("unlock", Napi::Function::New<Unlock>(env));
  exports.Set("notify", Napi::Function::New<Notify>(env));
  exports.Set("fileSteps", Napi::Function::New<FileSteps>(env));
  exports.Set("now", Napi::Function::New<Now>(env));
  exports.Set("FileSet", FileSet::Define(env));
  exports.Set("loopTurns", Napi::Function::New<LoopTurns>(env));
  exports.Set("releaseMemory", Napi::Function::New<ReleaseMemory>(env));
  exports.Set("readSets", Napi::Function::New<ReadSets>(env));
  return exports;
}

}  // namespace

NODE_API_MODULE(longshore, Init)
