// Many small files in one go, off the event loop: what a sampler reads of /proc and of the cgroup file system.
#pragma once

#include <napi.h>

#include <memory>

struct Files;

// Files that are read together again and again. new FileSet(paths: string[], kept: number): the first `kept` of them stay open
// between two readings, until close() or the garbage collector; the others are opened for each.
class FileSet : public Napi::ObjectWrap<FileSet> {
 public:
  static Napi::Function Define(Napi::Env env);
  explicit FileSet(const Napi::CallbackInfo& info);
  const std::shared_ptr<Files>& files() const { return files_; }

 private:
  void Close(const Napi::CallbackInfo& info);
  std::shared_ptr<Files> files_;
};

// readSets(sets: FileSet[], limit: number): Promise<{ texts: (string | null)[], at: number }>
// The texts of all sets one after another, `limit` bytes of each at most; one that cannot be read is null. `at`: CLOCK_MONOTONIC
// in milliseconds, before the first one. Rejects when there are no descriptors or no memory left: that says nothing of a file.
Napi::Value ReadSets(const Napi::CallbackInfo& info);
