#include "mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>

#include "errors.h"
#include "unique_fd.h"

namespace {

// CRC-32 as in ISO 3309, which zlib's crc32() is.
uint32_t Crc32(const uint8_t* bytes, size_t length) {
  static const auto table = [] {
    std::array<uint32_t, 256> made{};
    for (uint32_t i = 0; i < made.size(); i++) {
      made[i] = i;
      for (int bit = 0; bit < 8; bit++) made[i] = (made[i] >> 1) ^ ((made[i] & 1) != 0 ? 0xedb88320u : 0u);
    }
    return made;
  }();
  uint32_t crc = ~0u;
  for (size_t i = 0; i < length; i++) crc = table[(crc ^ bytes[i]) & 0xff] ^ (crc >> 8);
  return ~crc;
}

}  // namespace

Napi::Value WriteRecord(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  auto memory = info[0].As<Napi::Uint8Array>();
  const size_t at = info[1].ToNumber().Uint32Value();
  constexpr size_t kPrefix = 2 * sizeof(uint32_t);
  const size_t end = memory.ByteLength();
  // Behind the text Node-API sets a zero; a text that is cut off fills all the room but for the last four bytes at most.
  constexpr size_t kSlack = 5;
  if (at > end || end - at < kPrefix + kSlack) return Napi::Number::New(env, 0);
  uint8_t* record = memory.Data() + at;
  const uint32_t none = 0;
  std::memcpy(record, &none, sizeof none);
  const size_t room = end - at - kPrefix;
  size_t length = 0;
  if (napi_get_value_string_utf8(env, info[2], reinterpret_cast<char*>(record + kPrefix), room, &length) != napi_ok) throw SystemError(env, EINVAL, "writeRecord");
  if (room - length < kSlack) return Napi::Number::New(env, 0);
  const uint32_t crc = Crc32(record + kPrefix, length);
  std::memcpy(record + sizeof none, &crc, sizeof crc);
  return Napi::Number::New(env, static_cast<double>(length));
}

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
