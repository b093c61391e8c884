// fileSteps() of JavaScript: a list of steps on files (files.h) in one errand of libuv's thread pool.
#pragma once

#include <napi.h>

Napi::Value FileSteps(const Napi::CallbackInfo& info);
