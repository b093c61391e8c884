// Monitor::Probe() of JavaScript: a probe (probe.h) on a thread of its own, as a promise.
#pragma once

#include <napi.h>

#include "probe.h"

Napi::Value ProbeOnThread(Napi::Env env, ProbeTarget target);
