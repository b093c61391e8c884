// The Monitor class of JavaScript: a watch set, and the thread that waits on it.
#pragma once

#include <napi.h>

#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "watch_set.h"

// What the thread has read and JavaScript has not been told yet. While a call is on its way everything joins it, so a
// busy loop is called once for all that happened meanwhile.
struct Mailbox {
  std::mutex mutex;
  std::vector<Notice> pending;
  bool called = false;
};

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
  void Drop(const Napi::CallbackInfo& info);
  void Close(const Napi::CallbackInfo& info);
  Napi::Value Size(const Napi::CallbackInfo& info);
  void Shut();
  static void OnEnvironmentEnd(void* self);
  static void Deliver(Napi::Env env, Napi::Function callback, std::shared_ptr<Mailbox>* mailbox);

  std::shared_ptr<WatchSet> set_;
  std::shared_ptr<Mailbox> mailbox_;
  Napi::ThreadSafeFunction deliver_;
  std::thread thread_;
  bool closed_ = false;
};
