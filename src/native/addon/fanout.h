// The sockets of event readers: written to many at a time, watched for their end and for room. Used by one thread.
#pragma once

#include <napi.h>

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "unique_fd.h"

struct FanoutWatch;

class Fanout : public Napi::ObjectWrap<Fanout> {
 public:
  static Napi::Function Define(Napi::Env env);
  explicit Fanout(const Napi::CallbackInfo& info);
  ~Fanout() override;

 private:
  // A descriptor of its own for the socket; returns its token, never used again.
  Napi::Value Adopt(const Napi::CallbackInfo& info);
  // The same bytes to each of the sockets; what each took, or an errno below zero, goes into the results.
  void Write(const Napi::CallbackInfo& info);
  void Shutdown(const Napi::CallbackInfo& info);
  void Drop(const Napi::CallbackInfo& info);
  void Close(const Napi::CallbackInfo& info);
  Napi::Value Size(const Napi::CallbackInfo& info);

  void Shut();
  void Read();
  bool Watch(uint32_t token, int fd, int operation, uint32_t events) const;

  friend struct FanoutWatch;
  UniqueFd epoll_;
  uint32_t next_ = 1;
  std::unordered_map<uint32_t, UniqueFd> sockets_;
  Napi::FunctionReference callback_;
  Napi::AsyncContext context_;
  FanoutWatch* watch_ = nullptr;
};
