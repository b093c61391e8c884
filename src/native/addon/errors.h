// System errors as JavaScript sees them: an Error with code ('ESRCH'), errno and syscall, like Node's own.
#pragma once

#include <napi.h>

#include <cstring>
#include <string>

const char* ErrnoName(int error);

inline Napi::Error SystemError(Napi::Env env, int error, const std::string& syscall) {
  auto made = Napi::Error::New(env, syscall + ": " + std::strerror(error));
  made.Set("code", Napi::String::New(env, ErrnoName(error)));
  made.Set("errno", Napi::Number::New(env, error));
  made.Set("syscall", Napi::String::New(env, syscall));
  return made;
}
