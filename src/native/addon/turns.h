// How long the turns of the event loop are, measured without waking it up.
#pragma once

#include <napi.h>

// loopTurns(): [turns, turns of more than 5 ms, nanoseconds of the longest since the last call]; counted from the first call on.
// A turn is what a loop does between two waits (uv_prepare_t), less the time that it waited (uv_metrics_idle_time, which
// Node.js has switched on). For one loop of a process. Throws a system error.
Napi::Value LoopTurns(const Napi::CallbackInfo& info);
