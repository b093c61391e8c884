// Whether a server answers inside a container's network namespace. Knows nothing of JavaScript.
#pragma once

#include <cstdint>
#include <string>

#include "unique_fd.h"

struct ProbeTarget {
  // The namespace to look from: /proc/<pid>/ns/net, opened while the process was known to be the right one.
  UniqueFd network;
  uint16_t port = 0;
  // Empty: a TCP connection is all that is asked for. Otherwise what a GET asks for.
  std::string path;
  int64_t milliseconds = 0;
};

struct ProbeResult {
  bool healthy = false;
  // The first line of the answer, or why there was none.
  std::string output;
};

// Opens the network namespace of the process that the pidfd stands for; 0 or an errno. ESRCH when the process has ended.
int OpenNetwork(int pidfd, int pid, UniqueFd* network);

// Blocks until there is an answer or the time is over. The calling thread is in the other namespace afterwards, so it has to end.
ProbeResult RunProbe(const ProbeTarget& target);
