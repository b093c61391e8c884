// Steps on files, one after another, in one errand off the event loop: a lifecycle has dozens of them, and each alone would
// cost two changes of thread. Knows nothing of JavaScript.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

struct FileStep {
  // kMakeDirectory: with its parents, 0700; one that is there is fine
  // kWrite: whole or not at all, by a temporary name and rename(2), 0600
  // kSymlink: likewise, in place of what has that name
  // kRemove: with all that is below, following no symbolic link; what is not there is fine
  // kExists: result is empty when there is nothing of that name
  // kRead: the bytes of a regular file; no result when there is none
  // kGather: the files of one name in a directory and all below it, one after another; no result when it is not there
  // kExecutable: the first of `paths` that may be executed; no result when none may
  enum class Op : uint8_t { kMakeDirectory, kWrite, kSymlink, kRemove, kExists, kRead, kGather, kExecutable };
  Op op;
  std::string path;
  std::string text;                // write: the bytes; symlink: the target; gather: the name
  bool sync = false;               // write: lasts over a power cut
  uint64_t limit = 0;              // read: bytes; EFBIG above it
  std::vector<std::string> paths;  // executable
};

struct FileResult {
  bool there = false;
  std::string text;
};

struct FileFailure {
  int error = 0;
  const char* syscall = "";
  std::string path;
  size_t step = 0;
};

// Stops at the first step that fails; those before it stay done.
FileFailure RunFileSteps(const std::vector<FileStep>& steps, std::vector<FileResult>* results);
