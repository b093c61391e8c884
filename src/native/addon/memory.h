// Memory that was needed to start and is not needed any more, given back.
#pragma once

#include <napi.h>

// releaseMemory(): what malloc holds and nobody uses (malloc_trim(3)), and the pages of Node.js's own program file that this
// process has mapped: its code and constants, half of which only a start reads. They stay in the page cache, so what is used
// again is back with a minor fault for each 64 KiB; nothing is read from the disk as long as the kernel keeps them.
// Takes the event loop for about a millisecond.
void ReleaseMemory(const Napi::CallbackInfo& info);
