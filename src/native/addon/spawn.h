// Starting and finding helper processes. All of it may block for a while and is called off the event loop.
#pragma once

#include <string>
#include <vector>

#include "unique_fd.h"

struct Failure {
  int error = 0;
  const char* syscall = "";
};

struct Spawned {
  int pid = 0;
  UniqueFd process;
  UniqueFd connection;
};

// A shim with its end of a socket pair on 3 and a listening socket RUN/shim.sock on 4.
Failure SpawnShim(const std::string& path, const std::vector<std::string>& args, const std::vector<std::string>& env, const std::string& run_dir, Spawned* spawned);
// The shim that listens on RUN/shim.sock.
Failure ConnectShim(const std::string& run_dir, Spawned* spawned);
// Any other program in a process group of its own, its output in a file.
Failure SpawnHelper(const std::string& path, const std::vector<std::string>& args, const std::vector<std::string>& env, const std::string& cwd, const std::string& output, Spawned* spawned);
int PidfdOpen(int pid);
