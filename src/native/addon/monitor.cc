#include "monitor.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <uv.h>

#include <cerrno>
#include <functional>
#include <memory>
#include <string>
#include <system_error>

#include "errors.h"
#include "probe_thread.h"
#include "spawn.h"

namespace {

std::vector<std::string> Strings(const Napi::Value& value) {
  std::vector<std::string> list;
  const auto array = value.As<Napi::Array>();
  list.reserve(array.Length());
  for (uint32_t i = 0; i < array.Length(); i++) list.push_back(array.Get(i).ToString().Utf8Value());
  return list;
}

std::string Text(const Napi::Object& object, const char* name) {
  const auto value = object.Get(name);
  return value.IsString() ? value.As<Napi::String>().Utf8Value() : std::string();
}

// Starts or finds a process in a worker thread of libuv, then watches what it got.
class SpawnWorker : public Napi::AsyncWorker {
 public:
  SpawnWorker(Napi::Env env, std::shared_ptr<WatchSet> set, bool started, std::function<Failure(Spawned*)> work)
      : Napi::AsyncWorker(env), deferred_(Napi::Promise::Deferred::New(env)), set_(std::move(set)), started_(started), work_(std::move(work)) {}

  Napi::Promise promise() const { return deferred_.Promise(); }

 protected:
  void Execute() override { failure_ = work_(&spawned_); }

  void OnOK() override {
    if (failure_.error != 0) {
      deferred_.Reject(SystemError(Env(), failure_.error, failure_.syscall).Value());
      return;
    }
    const bool connected = static_cast<bool>(spawned_.connection);
    const uint32_t process = set_->Add(started_ ? Kind::kChild : Kind::kProcess, std::move(spawned_.process));
    const uint32_t connection = process != 0 && connected ? set_->Add(Kind::kConnection, std::move(spawned_.connection)) : 0;
    if (process == 0 || (connected && connection == 0)) {
      const int error = errno;
      if (process != 0) set_->Drop(process);
      deferred_.Reject(SystemError(Env(), error, "epoll_ctl").Value());
      return;
    }
    auto result = Napi::Object::New(Env());
    result.Set("pid", spawned_.pid);
    result.Set("process", process);
    result.Set("connection", connection);
    deferred_.Resolve(result);
  }

 private:
  Napi::Promise::Deferred deferred_;
  std::shared_ptr<WatchSet> set_;
  bool started_;
  std::function<Failure(Spawned*)> work_;
  Spawned spawned_;
  Failure failure_;
};

Napi::Value Start(Napi::Env env, const std::shared_ptr<WatchSet>& set, bool started, std::function<Failure(Spawned*)> work) {
  auto* worker = new SpawnWorker(env, set, started, std::move(work));
  const auto promise = worker->promise();
  worker->Queue();
  return promise;
}

// An array of numbers in groups of five and the bytes of all packets.
std::vector<napi_value> Arguments(Napi::Env env, const std::vector<Notice>& batch) {
  size_t bytes = 0;
  for (const auto& notice : batch) bytes += notice.packet.size();
  constexpr size_t kGroup = 5;
  auto numbers = Napi::Float64Array::New(env, batch.size() * kGroup);
  auto packets = Napi::Uint8Array::New(env, bytes);
  size_t at = 0;
  size_t offset = 0;
  for (const auto& notice : batch) {
    double* group = numbers.Data() + at;
    at += kGroup;
    group[0] = static_cast<double>(notice.type);
    group[1] = notice.token;
    switch (notice.type) {
      case Notice::Type::kPacket:
        group[2] = notice.pidfd;
        group[3] = static_cast<double>(offset);
        group[4] = static_cast<double>(notice.packet.size());
        std::copy(notice.packet.begin(), notice.packet.end(), packets.Data() + offset);
        offset += notice.packet.size();
        break;
      case Notice::Type::kExit:
        group[2] = notice.status.has_value() ? 1 : 0;
        group[3] = notice.status.value_or(0);
        group[4] = notice.final ? 1 : 0;
        break;
      case Notice::Type::kOom:
        group[2] = static_cast<double>(notice.count);
        break;
      case Notice::Type::kHangup:
        break;
    }
  }
  return {numbers, packets};
}

}  // namespace

Napi::Function Monitor::Define(Napi::Env env) {
  return DefineClass(env, "Monitor",
                     {InstanceMethod<&Monitor::SpawnShim>("spawnShim"), InstanceMethod<&Monitor::ConnectShim>("connectShim"),
                      InstanceMethod<&Monitor::Run>("run"), InstanceMethod<&Monitor::OpenProcess>("openProcess"),
                      InstanceMethod<&Monitor::WatchOom>("watchOom"), InstanceMethod<&Monitor::Send>("send"),
                      InstanceMethod<&Monitor::Signal>("signal"), InstanceMethod<&Monitor::Probe>("probe"), InstanceMethod<&Monitor::Drop>("drop"),
                      InstanceMethod<&Monitor::Close>("close"), InstanceAccessor<&Monitor::Size>("size")});
}

// The set's descriptor and the timers of its looks and of its patience, in libuv's hands. Outlives its monitor until libuv has closed them.
struct LoopWatch {
  uv_poll_t poll;
  uv_timer_t timer;
  uv_timer_t patience;
  Monitor* monitor;
  napi_async_cleanup_hook_handle hook = nullptr;
  int open = 3;

  // 0 or an errno.
  static int Open(napi_env env, Monitor* monitor, LoopWatch** opened) {
    uv_loop_t* loop = nullptr;
    if (napi_get_uv_event_loop(env, &loop) != napi_ok) return ECANCELED;
    auto watch = std::make_unique<LoopWatch>();
    watch->monitor = monitor;
    // None can fail for a descriptor that epoll takes, but for want of memory.
    int error = uv_poll_init(loop, &watch->poll, monitor->set_->descriptor());
    if (error != 0) return -error;
    error = uv_timer_init(loop, &watch->timer);
    if (error == 0) error = uv_timer_init(loop, &watch->patience);
    watch->poll.data = watch->timer.data = watch->patience.data = watch.get();
    *opened = watch.release();
    if (error == 0) error = uv_poll_start(&(*opened)->poll, UV_READABLE, OnReadable);
    // A worker's or the process's end: the environment waits until libuv has let go.
    if (error == 0 && napi_add_async_cleanup_hook(env, OnEnvironmentEnd, *opened, &(*opened)->hook) != napi_ok) error = -ECANCELED;
    return -error;
  }

  void Close() {
    if (monitor == nullptr) return;
    monitor = nullptr;
    const auto closed = [](uv_handle_t* handle) {
      auto* watch = static_cast<LoopWatch*>(handle->data);
      if (--watch->open > 0) return;
      if (watch->hook != nullptr) (void)napi_remove_async_cleanup_hook(watch->hook);
      delete watch;
    };
    uv_close(reinterpret_cast<uv_handle_t*>(&poll), closed);
    uv_close(reinterpret_cast<uv_handle_t*>(&timer), closed);
    uv_close(reinterpret_cast<uv_handle_t*>(&patience), closed);
  }

  // Descriptors in the set never make its own fail, so the status is of no interest; what is there is read.
  static void OnReadable(uv_poll_t* poll, int, int) {
    std::vector<Notice> batch;
    auto* watch = static_cast<LoopWatch*>(poll->data);
    watch->monitor->set_->Read(&batch);
    watch->Schedule(watch->monitor->set_->looking());
    watch->SchedulePatience(watch->monitor->set_->patience());
    watch->monitor->Deliver(batch);
  }

  // What it lets be read makes the set's descriptor readable.
  static void OnPatienceEnd(uv_timer_t* timer) {
    auto* watch = static_cast<LoopWatch*>(timer->data);
    watch->monitor->set_->EndPatience();
    watch->SchedulePatience(watch->monitor->set_->patience());
  }

  static void OnTime(uv_timer_t* timer) {
    std::vector<Notice> batch;
    auto* watch = static_cast<LoopWatch*>(timer->data);
    watch->Schedule(watch->monitor->set_->Look(&batch));
    watch->monitor->Deliver(batch);
  }

  void Schedule(uint64_t milliseconds) {
    // Fails only for a timer that is being closed.
    if (milliseconds != 0 && uv_is_active(reinterpret_cast<uv_handle_t*>(&timer)) == 0) (void)uv_timer_start(&timer, OnTime, milliseconds, 0);
  }

  void SchedulePatience(uint64_t milliseconds) {
    if (milliseconds != 0 && uv_is_active(reinterpret_cast<uv_handle_t*>(&patience)) == 0) (void)uv_timer_start(&patience, OnPatienceEnd, milliseconds, 0);
  }

  static void OnEnvironmentEnd(napi_async_cleanup_hook_handle, void* data) {
    auto* watch = static_cast<LoopWatch*>(data);
    if (watch->monitor != nullptr) watch->monitor->Shut();
  }
};

Monitor::Monitor(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<Monitor>(info), callback_(Napi::Persistent(info[0].As<Napi::Function>())), context_(info.Env(), "longshore monitor") {
  try {
    set_ = std::make_shared<WatchSet>();
  } catch (const std::system_error& error) {
    throw SystemError(info.Env(), error.code().value(), error.what());
  }
  const int error = LoopWatch::Open(info.Env(), this, &watch_);
  if (error == 0) return;
  Shut();
  throw SystemError(info.Env(), error, "uv_poll_start");
}

Monitor::~Monitor() { Shut(); }

void Monitor::Shut() {
  if (watch_ == nullptr) return;
  watch_->Close();
  watch_ = nullptr;
  set_->Close();
}

void Monitor::Deliver(const std::vector<Notice>& batch) {
  if (batch.empty()) return;
  const Napi::Env env = Env();
  const Napi::HandleScope scope(env);
  try {
    callback_.MakeCallback(env.Global(), Arguments(env, batch), context_);
  } catch (const Napi::Error& error) {
    // What JavaScript threw is an uncaught exception there. While an environment goes down nothing can be called any
    // more, which comes as an error without a value: nobody is left to be told.
    if (!error.IsEmpty()) (void)napi_fatal_exception(env, error.Value());
  }
}

Napi::Value Monitor::SpawnShim(const Napi::CallbackInfo& info) {
  const auto options = info[0].As<Napi::Object>();
  return Start(info.Env(), set_, true, [path = Text(options, "path"), args = Strings(options.Get("args")), env = Strings(options.Get("env")), dir = Text(options, "runDir")](Spawned* spawned) {
    return ::SpawnShim(path, args, env, dir, spawned);
  });
}

Napi::Value Monitor::ConnectShim(const Napi::CallbackInfo& info) {
  return Start(info.Env(), set_, false, [dir = info[0].ToString().Utf8Value()](Spawned* spawned) { return ::ConnectShim(dir, spawned); });
}

Napi::Value Monitor::Run(const Napi::CallbackInfo& info) {
  const auto options = info[0].As<Napi::Object>();
  return Start(info.Env(), set_, true, [path = Text(options, "path"), args = Strings(options.Get("args")), env = Strings(options.Get("env")), cwd = Text(options, "cwd"), output = Text(options, "stdio")](Spawned* spawned) {
    return SpawnHelper(path, args, env, cwd, output, spawned);
  });
}

Napi::Value Monitor::OpenProcess(const Napi::CallbackInfo& info) {
  UniqueFd fd(PidfdOpen(info[0].ToNumber().Int32Value()));
  if (!fd) throw SystemError(info.Env(), errno, "pidfd_open");
  const uint32_t token = set_->Add(Kind::kProcess, std::move(fd));
  if (token == 0) throw SystemError(info.Env(), errno, "epoll_ctl");
  return Napi::Number::New(info.Env(), token);
}

Napi::Value Monitor::WatchOom(const Napi::CallbackInfo& info) {
  const auto options = info[0].As<Napi::Object>();
  const std::string dir = Text(options, "dir");
  uint32_t token = 0;
  if (options.Get("version").ToNumber().Int32Value() == 2) {
    UniqueFd events(open((dir + "/memory.events").c_str(), O_RDONLY | O_CLOEXEC));
    if (!events) throw SystemError(info.Env(), errno, "open");
    token = set_->Add(Kind::kOom2, std::move(events));
  } else {
    // Documentation/admin-guide/cgroup-v1/memory.rst, "OOM Control": both numbers go into cgroup.event_control.
    UniqueFd control(open((dir + "/memory.oom_control").c_str(), O_RDONLY | O_CLOEXEC));
    if (!control) throw SystemError(info.Env(), errno, "open");
    UniqueFd event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!event) throw SystemError(info.Env(), errno, "eventfd");
    const UniqueFd registry(open((dir + "/cgroup.event_control").c_str(), O_WRONLY | O_CLOEXEC));
    if (!registry) throw SystemError(info.Env(), errno, "open");
    const std::string line = std::to_string(event.get()) + " " + std::to_string(control.get());
    if (write(registry.get(), line.data(), line.size()) < 0) throw SystemError(info.Env(), errno, "write");
    token = set_->Add(Kind::kOom1, std::move(event), std::move(control));
  }
  if (token == 0) throw SystemError(info.Env(), errno, "epoll_ctl");
  return Napi::Number::New(info.Env(), token);
}

void Monitor::Send(const Napi::CallbackInfo& info) {
  const auto bytes = info[1].As<Napi::Uint8Array>();
  const int error = set_->Send(info[0].ToNumber().Uint32Value(), bytes.Data(), bytes.ByteLength());
  if (error != 0) throw SystemError(info.Env(), error, "send");
}

void Monitor::Signal(const Napi::CallbackInfo& info) {
  const int error = set_->Signal(info[0].ToNumber().Uint32Value(), info[1].ToNumber().Int32Value());
  if (error != 0) throw SystemError(info.Env(), error, "pidfd_send_signal");
}

Napi::Value Monitor::Probe(const Napi::CallbackInfo& info) {
  const auto options = info[0].As<Napi::Object>();
  ProbeTarget target;
  const int pidfd = set_->Process(options.Get("process").ToNumber().Uint32Value());
  const int error = pidfd < 0 ? ESRCH : OpenNetwork(pidfd, options.Get("pid").ToNumber().Int32Value(), &target.network);
  if (error != 0) throw SystemError(info.Env(), error, "open");
  target.port = static_cast<uint16_t>(options.Get("port").ToNumber().Uint32Value());
  target.path = Text(options, "path");
  target.milliseconds = options.Get("milliseconds").ToNumber().Int64Value();
  return ProbeOnThread(info.Env(), std::move(target));
}

void Monitor::Drop(const Napi::CallbackInfo& info) { set_->Drop(info[0].ToNumber().Uint32Value()); }

void Monitor::Close(const Napi::CallbackInfo&) { Shut(); }

Napi::Value Monitor::Size(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), static_cast<double>(set_->size())); }
