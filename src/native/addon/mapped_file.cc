#include "mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <string>

#include "errors.h"
#include "unique_fd.h"

Napi::Value MapFile(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::string path = info[0].ToString().Utf8Value();
  const auto length = static_cast<size_t>(info[1].ToNumber().Int64Value());
  const UniqueFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600));
  if (!fd) throw SystemError(env, errno, "open");
  struct stat status {};
  if (fstat(fd.get(), &status) < 0) throw SystemError(env, errno, "fstat");
  if (!S_ISREG(status.st_mode)) throw SystemError(env, EINVAL, "open");
  if (fchmod(fd.get(), 0600) < 0) throw SystemError(env, errno, "fchmod");
  const int error = posix_fallocate(fd.get(), 0, static_cast<off_t>(length));
  if (error != 0) throw SystemError(env, error, "posix_fallocate");
  void* memory = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (memory == MAP_FAILED) throw SystemError(env, errno, "mmap");
  // The mapping outlives the descriptor.
  return Napi::ArrayBuffer::New(env, memory, length, [length](Napi::Env, void* data) { (void)munmap(data, length); });
}
