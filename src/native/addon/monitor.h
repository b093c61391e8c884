// The Monitor class of JavaScript: a watch set in the event loop.
#pragma once

#include <napi.h>

#include <memory>
#include <vector>

#include "watch_set.h"

struct LoopWatch;

class Monitor : public Napi::ObjectWrap<Monitor> {
 public:
  static Napi::Function Define(Napi::Env env);
  explicit Monitor(const Napi::CallbackInfo& info);
  ~Monitor() override;

  std::shared_ptr<WatchSet> set() const { return set_; }

 private:
  Napi::Value SpawnShim(const Napi::CallbackInfo& info);
  Napi::Value ConnectShim(const Napi::CallbackInfo& info);
  Napi::Value Run(const Napi::CallbackInfo& info);
  Napi::Value OpenProcess(const Napi::CallbackInfo& info);
  Napi::Value WatchOom(const Napi::CallbackInfo& info);
  void Send(const Napi::CallbackInfo& info);
  void Signal(const Napi::CallbackInfo& info);
  Napi::Value Probe(const Napi::CallbackInfo& info);
  void Drop(const Napi::CallbackInfo& info);
  void Close(const Napi::CallbackInfo& info);
  Napi::Value Size(const Napi::CallbackInfo& info);
  void Shut();
  // Tells JavaScript of all that one look has found, in one call.
  void Deliver(const std::vector<Notice>& batch);

  friend struct LoopWatch;
  std::shared_ptr<WatchSet> set_;
  Napi::FunctionReference callback_;
  Napi::AsyncContext context_;
  LoopWatch* watch_ = nullptr;
};
