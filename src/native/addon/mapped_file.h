// A file as memory: what is written to it is the kernel's at once, and outlives this process however it ends.
#pragma once

#include <napi.h>

// mapFile(path, bytes): an ArrayBuffer of that size, of a regular file (mode 0600) that is made, and filled up with zeros,
// where needed. All its blocks are there before the first access, so that no access can fail for want of space.
Napi::Value MapFile(const Napi::CallbackInfo& info);

// writeRecord(memory, at, text): a record of the lane (src/events/lane.ts), but for its length, which is set to zero: the CRC-32 of the
// text and the text in UTF-8. Returns how many bytes the text has, 0 when there is no room for it. The byte behind it is zero then.
Napi::Value WriteRecord(const Napi::CallbackInfo& info);
