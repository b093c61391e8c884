#include "files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "unique_fd.h"

namespace {

// What is being removed may still be written to: rounds until that is taken for a failure.
constexpr int kRemoveRounds = 8;

struct Directory {
  explicit Directory(int fd) : stream(fdopendir(fd)) {
    if (stream == nullptr) close(fd);
  }
  ~Directory() {
    if (stream != nullptr) closedir(stream);
  }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  // The next name but . and .., or null at the end, with errno set when reading failed.
  const dirent* Next() {
    for (;;) {
      errno = 0;
      const dirent* entry = readdir(stream);
      if (entry == nullptr || (std::strcmp(entry->d_name, ".") != 0 && std::strcmp(entry->d_name, "..") != 0)) return entry;
    }
  }
  DIR* stream;
};

FileFailure Failed(const char* syscall, const std::string& path) { return {errno, syscall, path, 0}; }

FileFailure MakeDirectory(const std::string& path) {
  if (mkdir(path.c_str(), 0700) == 0) return {};
  if (errno == ENOENT) {
    const size_t slash = path.find_last_of('/');
    if (slash == std::string::npos || slash == 0) return Failed("mkdir", path);
    if (FileFailure failure = MakeDirectory(path.substr(0, slash)); failure.error != 0) return failure;
    if (mkdir(path.c_str(), 0700) == 0) return {};
  }
  if (errno != EEXIST) return Failed("mkdir", path);
  struct stat info;
  if (stat(path.c_str(), &info) < 0) return Failed("stat", path);
  if (S_ISDIR(info.st_mode)) return {};
  errno = EEXIST;
  return Failed("mkdir", path);
}

// A name beside `path` that nothing else has.
std::string Temporary(const std::string& path) {
  unsigned char bytes[6];
  // A short read of the kernel's randomness, which cannot be: O_EXCL still refuses a name that is taken.
  if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes) std::memset(bytes, 0, sizeof bytes);
  char suffix[sizeof bytes * 2 + 6];
  std::snprintf(suffix, sizeof suffix, ".%02x%02x%02x%02x%02x%02x.tmp", bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5]);
  return path + suffix;
}

FileFailure Fill(const std::string& path, const std::string& text, bool sync) {
  UniqueFd file(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file) return Failed("open", path);
  for (size_t done = 0; done < text.size();) {
    const ssize_t written = write(file.get(), text.data() + done, text.size() - done);
    if (written >= 0) done += static_cast<size_t>(written);
    else if (errno != EINTR) return Failed("write", path);
  }
  if (sync && fsync(file.get()) < 0) return Failed("fsync", path);
  // A file system may tell of a full disk only now.
  if (close(file.release()) < 0) return Failed("close", path);
  return {};
}

// Moves what `make` has made under a temporary name to its own.
template <typename Make>
FileFailure Replace(const std::string& path, Make make) {
  const std::string temporary = Temporary(path);
  FileFailure failure = make(temporary);
  if (failure.error == 0 && rename(temporary.c_str(), path.c_str()) < 0) failure = Failed("rename", path);
  if (failure.error != 0) (void)unlink(temporary.c_str());
  return failure;
}

FileFailure Write(const std::string& path, const std::string& text, bool sync) {
  return Replace(path, [&](const std::string& temporary) { return Fill(temporary, text, sync); });
}

FileFailure Symlink(const std::string& path, const std::string& target) {
  return Replace(path, [&](const std::string& temporary) { return symlink(target.c_str(), temporary.c_str()) < 0 ? Failed("symlink", path) : FileFailure{}; });
}

FileFailure RemoveAt(int parent, const char* name, const std::string& path) {
  for (int round = 0;; round++) {
    if (unlinkat(parent, name, 0) == 0 || errno == ENOENT) return {};
    // A runc that was killed may leave its own program mounted on a file of its state (umount(2), MNT_DETACH).
    if (errno == EBUSY && round < kRemoveRounds) {
      if (umount2(path.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) == 0) continue;
      errno = EBUSY;
    }
    if (errno != EISDIR && errno != EPERM) return Failed("unlink", path);
    const int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return errno == ENOENT ? FileFailure{} : Failed("open", path);
    {
      Directory directory(fd);
      if (directory.stream == nullptr) return Failed("opendir", path);
      const dirent* entry;
      while ((entry = directory.Next()) != nullptr) {
        if (FileFailure failure = RemoveAt(dirfd(directory.stream), entry->d_name, path + "/" + entry->d_name); failure.error != 0) return failure;
      }
      if (errno != 0) return Failed("readdir", path);
    }
    if (unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT) return {};
    if (errno != ENOTEMPTY || round == kRemoveRounds) return Failed("rmdir", path);
  }
}

bool Gone(int error) { return error == ENOENT || error == ESRCH || error == ENODEV; }

FileFailure ReadAll(int fd, const std::string& path, uint64_t limit, std::string* text) {
  for (;;) {
    const size_t had = text->size();
    text->resize(had + 8192);
    const ssize_t length = read(fd, text->data() + had, 8192);
    text->resize(had + (length > 0 ? static_cast<size_t>(length) : 0));
    if (length == 0) return {};
    if (length < 0 && errno != EINTR) return Failed("read", path);
    if (text->size() > limit) {
      errno = EFBIG;
      return Failed("read", path);
    }
  }
}

FileFailure Read(const std::string& path, uint64_t limit, FileResult* result) {
  // A FIFO in the place of a file must not hold the thread up.
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!file) return Gone(errno) ? FileFailure{} : Failed("open", path);
  struct stat info;
  if (fstat(file.get(), &info) < 0) return Failed("fstat", path);
  if (!S_ISREG(info.st_mode)) {
    errno = S_ISDIR(info.st_mode) ? EISDIR : EINVAL;
    return Failed("read", path);
  }
  FileFailure failure = ReadAll(file.get(), path, limit, &result->text);
  // A process or a group that went meanwhile.
  if (failure.error != 0 && Gone(failure.error)) return {};
  result->there = failure.error == 0;
  return failure;
}

FileFailure GatherAt(int parent, const char* name, const std::string& file, const std::string& path, FileResult* result) {
  const int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return Gone(errno) ? FileFailure{} : Failed("open", path);
  Directory directory(fd);
  if (directory.stream == nullptr) return Failed("opendir", path);
  const UniqueFd one(openat(dirfd(directory.stream), file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!one) {
    if (!Gone(errno)) return Failed("open", path);
  } else {
    result->there = true;
    const FileFailure failure = ReadAll(one.get(), path, UINT64_MAX, &result->text);
    // A threaded group has none of its own: those are listed above it (cgroup v2, "Threads").
    if (failure.error != 0 && failure.error != EOPNOTSUPP && !Gone(failure.error)) return failure;
  }
  const dirent* entry;
  while ((entry = directory.Next()) != nullptr) {
    if (entry->d_type != DT_DIR) continue;
    if (FileFailure failure = GatherAt(dirfd(directory.stream), entry->d_name, file, path + "/" + entry->d_name, result); failure.error != 0) return failure;
  }
  return errno == 0 || Gone(errno) ? FileFailure{} : Failed("readdir", path);
}

FileFailure RunOne(const FileStep& step, FileResult* result) {
  switch (step.op) {
    case FileStep::Op::kMakeDirectory: return MakeDirectory(step.path);
    case FileStep::Op::kWrite: return Write(step.path, step.text, step.sync);
    case FileStep::Op::kSymlink: return Symlink(step.path, step.text);
    case FileStep::Op::kRemove: return RemoveAt(AT_FDCWD, step.path.c_str(), step.path);
    case FileStep::Op::kExists: result->there = access(step.path.c_str(), F_OK) == 0; return {};
    case FileStep::Op::kRead: return Read(step.path, step.limit, result);
    case FileStep::Op::kGather: return GatherAt(AT_FDCWD, step.path.c_str(), step.text, step.path, result);
    case FileStep::Op::kExecutable:
      for (const auto& path : step.paths) {
        if (access(path.c_str(), X_OK) < 0) continue;
        *result = {true, path};
        break;
      }
      return {};
  }
  return {EINVAL, "step", step.path, 0};
}

}  // namespace

FileFailure RunFileSteps(const std::vector<FileStep>& steps, std::vector<FileResult>* results) {
  results->resize(steps.size());
  for (size_t i = 0; i < steps.size(); i++) {
    FileFailure failure = RunOne(steps[i], &(*results)[i]);
    if (failure.error == 0) continue;
    failure.step = i;
    return failure;
  }
  return {};
}
