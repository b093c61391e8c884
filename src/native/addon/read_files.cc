#include "read_files.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "errors.h"
#include "unique_fd.h"

// Shared with a reading under way, which may outlive its FileSet.
struct Files {
  Files(std::vector<std::string> paths, size_t kept) : paths(std::move(paths)), fds(kept) {}
  const std::vector<std::string> paths;
  std::mutex mutex;
  std::vector<UniqueFd> fds;
};

namespace {

constexpr size_t kChunk = 4096;
// The kernel's seq_file fills a page before it gives a short read: one this short is the last, and the read that would say so is spared.
constexpr size_t kSurelyLast = 2048;

// Sets `error` only when the failure is not the file's.
std::optional<std::string> ReadFile(const std::string& path, UniqueFd* keep, size_t limit, int* error) {
  UniqueFd own;
  UniqueFd& fd = keep == nullptr ? own : *keep;
  if (!fd) fd = UniqueFd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd) {
    if (errno == EMFILE || errno == ENFILE || errno == ENOMEM) *error = errno;
    return std::nullopt;
  }
  std::string text;
  while (text.size() < limit) {
    const size_t had = text.size();
    const size_t room = std::min(kChunk, limit - had);
    text.resize(had + room);
    // From the beginning, whatever was read before: the kernel writes the text anew for offset 0.
    const ssize_t got = pread(fd.get(), text.data() + had, room, static_cast<off_t>(had));
    if (got < 0 && errno == EINTR) {
      text.resize(had);
      continue;
    }
    if (got < 0) {
      if (errno == ENOMEM) *error = errno;
      fd = UniqueFd();
      return std::nullopt;
    }
    text.resize(had + static_cast<size_t>(got));
    if (static_cast<size_t>(got) < std::min(room, kSurelyLast)) break;
  }
  return text;
}

class Reading : public Napi::AsyncWorker {
 public:
  Reading(Napi::Env env, std::vector<std::shared_ptr<Files>> sets, size_t limit)
      : Napi::AsyncWorker(env, "longshore.readSets"), deferred_(Napi::Promise::Deferred::New(env)), sets_(std::move(sets)), limit_(limit) {}

  Napi::Promise promise() const { return deferred_.Promise(); }

 protected:
  void Execute() override {
    timespec time{};
    if (clock_gettime(CLOCK_MONOTONIC, &time) < 0) {
      error_ = errno;
      return;
    }
    at_ = static_cast<double>(time.tv_sec) * 1e3 + static_cast<double>(time.tv_nsec) / 1e6;
    for (const auto& files : sets_) {
      const std::lock_guard<std::mutex> lock(files->mutex);
      for (size_t i = 0; i < files->paths.size(); i++) {
        texts_.push_back(ReadFile(files->paths[i], i < files->fds.size() ? &files->fds[i] : nullptr, limit_, &error_));
        if (error_ == 0) continue;
        // What is short is not held on to.
        for (auto& fd : files->fds) fd = UniqueFd();
        return;
      }
    }
  }

  void OnOK() override {
    const Napi::Env env = Env();
    if (error_ != 0) {
      deferred_.Reject(SystemError(env, error_, "open").Value());
      return;
    }
    auto texts = Napi::Array::New(env, texts_.size());
    for (size_t i = 0; i < texts_.size(); i++) {
      texts.Set(static_cast<uint32_t>(i), texts_[i] ? Napi::Value(Napi::String::New(env, *texts_[i])) : env.Null());
    }
    auto result = Napi::Object::New(env);
    result.Set("texts", texts);
    result.Set("at", at_);
    deferred_.Resolve(result);
  }

  void OnError(const Napi::Error& error) override { deferred_.Reject(error.Value()); }

 private:
  const Napi::Promise::Deferred deferred_;
  const std::vector<std::shared_ptr<Files>> sets_;
  const size_t limit_;
  int error_ = 0;
  double at_ = 0;
  std::vector<std::optional<std::string>> texts_;
};

}  // namespace

Napi::Function FileSet::Define(Napi::Env env) { return DefineClass(env, "FileSet", {InstanceMethod<&FileSet::Close>("close")}); }

FileSet::FileSet(const Napi::CallbackInfo& info) : Napi::ObjectWrap<FileSet>(info) {
  const auto given = info[0].As<Napi::Array>();
  std::vector<std::string> paths;
  paths.reserve(given.Length());
  for (uint32_t i = 0; i < given.Length(); i++) paths.push_back(given.Get(i).ToString().Utf8Value());
  const size_t kept = std::min(paths.size(), static_cast<size_t>(info[1].ToNumber().Uint32Value()));
  files_ = std::make_shared<Files>(std::move(paths), kept);
}

// Waits for a reading under way at most, which takes well below a millisecond for each set.
void FileSet::Close(const Napi::CallbackInfo& /*info*/) {
  const std::lock_guard<std::mutex> lock(files_->mutex);
  for (auto& fd : files_->fds) fd = UniqueFd();
}

Napi::Value ReadSets(const Napi::CallbackInfo& info) {
  const auto given = info[0].As<Napi::Array>();
  std::vector<std::shared_ptr<Files>> sets;
  sets.reserve(given.Length());
  for (uint32_t i = 0; i < given.Length(); i++) sets.push_back(FileSet::Unwrap(given.Get(i).As<Napi::Object>())->files());
  // Deletes itself when it is done.
  auto* reading = new Reading(info.Env(), std::move(sets), static_cast<size_t>(info[1].ToNumber().Int64Value()));
  const auto promise = reading->promise();
  reading->Queue();
  return promise;
}
