#include "fanout.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <uv.h>

#include <array>
#include <cerrno>
#include <memory>

#include "errors.h"

namespace {

// Readers send nothing after their request, so that only their end and, after a short write, room for more is of interest.
constexpr uint32_t kIdle = EPOLLRDHUP;
constexpr uint32_t kWaiting = EPOLLRDHUP | EPOLLOUT;
constexpr int kBatch = 256;

enum class Notice : uint32_t { kRoom = 1, kGone = 2 };

}  // namespace

Napi::Function Fanout::Define(Napi::Env env) {
  return DefineClass(env, "Fanout",
                     {InstanceMethod<&Fanout::Adopt>("adopt"), InstanceMethod<&Fanout::Write>("write"),
                      InstanceMethod<&Fanout::Shutdown>("shutdown"), InstanceMethod<&Fanout::Drop>("drop"),
                      InstanceMethod<&Fanout::Close>("close"), InstanceAccessor<&Fanout::Size>("size")});
}

// The epoll set's descriptor in libuv's hands. Outlives its owner until libuv has closed it.
struct FanoutWatch {
  uv_poll_t poll;
  Fanout* owner;
  napi_async_cleanup_hook_handle hook = nullptr;

  // 0 or an errno.
  static int Open(napi_env env, Fanout* owner, FanoutWatch** opened) {
    uv_loop_t* loop = nullptr;
    if (napi_get_uv_event_loop(env, &loop) != napi_ok) return ECANCELED;
    auto watch = std::make_unique<FanoutWatch>();
    watch->owner = owner;
    int error = uv_poll_init(loop, &watch->poll, owner->epoll_.get());
    if (error != 0) return -error;
    watch->poll.data = watch.get();
    *opened = watch.release();
    error = uv_poll_start(&(*opened)->poll, UV_READABLE, OnReadable);
    // Readers alone keep no process alive: the server that they came to does.
    uv_unref(reinterpret_cast<uv_handle_t*>(&(*opened)->poll));
    if (error == 0 && napi_add_async_cleanup_hook(env, OnEnvironmentEnd, *opened, &(*opened)->hook) != napi_ok) error = -ECANCELED;
    return -error;
  }

  void Close() {
    owner = nullptr;
    uv_close(reinterpret_cast<uv_handle_t*>(&poll), [](uv_handle_t* handle) {
      auto* watch = static_cast<FanoutWatch*>(handle->data);
      if (watch->hook != nullptr) (void)napi_remove_async_cleanup_hook(watch->hook);
      delete watch;
    });
  }

  static void OnReadable(uv_poll_t* poll, int, int) { static_cast<FanoutWatch*>(poll->data)->owner->Read(); }

  static void OnEnvironmentEnd(napi_async_cleanup_hook_handle, void* data) {
    auto* watch = static_cast<FanoutWatch*>(data);
    if (watch->owner != nullptr) watch->owner->Shut();
  }
};

Fanout::Fanout(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<Fanout>(info),
      epoll_(epoll_create1(EPOLL_CLOEXEC)),
      callback_(Napi::Persistent(info[0].As<Napi::Function>())),
      context_(info.Env(), "longshore readers") {
  if (!epoll_) throw SystemError(info.Env(), errno, "epoll_create1");
  const int error = FanoutWatch::Open(info.Env(), this, &watch_);
  if (error == 0) return;
  Shut();
  throw SystemError(info.Env(), error, "uv_poll_start");
}

Fanout::~Fanout() { Shut(); }

void Fanout::Shut() {
  if (watch_ == nullptr) return;
  watch_->Close();
  watch_ = nullptr;
  sockets_.clear();
}

bool Fanout::Watch(uint32_t token, int fd, int operation, uint32_t events) const {
  epoll_event event{};
  event.events = events;
  event.data.u32 = token;
  return epoll_ctl(epoll_.get(), operation, fd, &event) == 0;
}

Napi::Value Fanout::Adopt(const Napi::CallbackInfo& info) {
  if (watch_ == nullptr) throw SystemError(info.Env(), ECANCELED, "fcntl");
  UniqueFd fd(fcntl(info[0].ToNumber().Int32Value(), F_DUPFD_CLOEXEC, 0));
  if (!fd) throw SystemError(info.Env(), errno, "fcntl");
  const uint32_t token = next_++;
  if (!Watch(token, fd.get(), EPOLL_CTL_ADD, kIdle)) throw SystemError(info.Env(), errno, "epoll_ctl");
  sockets_.emplace(token, std::move(fd));
  return Napi::Number::New(info.Env(), token);
}

void Fanout::Write(const Napi::CallbackInfo& info) {
  const auto tokens = info[0].As<Napi::Uint32Array>();
  const uint32_t count = info[1].ToNumber().Uint32Value();
  const auto bytes = info[2].As<Napi::Uint8Array>();
  auto results = info[3].As<Napi::Int32Array>();
  if (count > tokens.ElementLength() || count > results.ElementLength()) throw SystemError(info.Env(), EINVAL, "send");
  const size_t length = bytes.ByteLength();
  const uint8_t* data = bytes.Data();
  for (uint32_t i = 0; i < count; i++) {
    const uint32_t token = tokens.Data()[i];
    const auto found = sockets_.find(token);
    if (found == sockets_.end()) {
      results.Data()[i] = -EPIPE;
      continue;
    }
    const int fd = found->second.get();
    ssize_t taken = -1;
    do taken = send(fd, data, length, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (taken < 0 && errno == EINTR);
    if (taken < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
      results.Data()[i] = -errno;
      continue;
    }
    if (taken < 0) taken = 0;
    if (static_cast<size_t>(taken) < length && !Watch(token, fd, EPOLL_CTL_MOD, kWaiting)) {
      results.Data()[i] = -errno;
      continue;
    }
    results.Data()[i] = static_cast<int32_t>(taken);
  }
}

void Fanout::Shutdown(const Napi::CallbackInfo& info) {
  const auto found = sockets_.find(info[0].ToNumber().Uint32Value());
  // A connection that has gone meanwhile tells of it by itself.
  if (found != sockets_.end()) (void)shutdown(found->second.get(), SHUT_WR);
}

void Fanout::Drop(const Napi::CallbackInfo& info) { sockets_.erase(info[0].ToNumber().Uint32Value()); }

void Fanout::Close(const Napi::CallbackInfo&) { Shut(); }

Napi::Value Fanout::Size(const Napi::CallbackInfo& info) { return Napi::Number::New(info.Env(), static_cast<double>(sockets_.size())); }

// One batch for each turn of the loop; what is left makes the set readable again at once.
void Fanout::Read() {
  std::array<epoll_event, kBatch> events;
  const int ready = epoll_wait(epoll_.get(), events.data(), kBatch, 0);
  if (ready <= 0) return;
  const Napi::Env env = Env();
  const Napi::HandleScope scope(env);
  auto notices = Napi::Uint32Array::New(env, static_cast<size_t>(ready) * 2);
  for (int i = 0; i < ready; i++) {
    const uint32_t token = events[i].data.u32;
    const bool gone = (events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
    const auto found = sockets_.find(token);
    // Out of the set until something is to be waited for again: it would make the loop turn without end.
    if (found != sockets_.end()) (void)Watch(token, found->second.get(), gone ? EPOLL_CTL_DEL : EPOLL_CTL_MOD, kIdle);
    notices.Data()[i * 2] = token;
    notices.Data()[i * 2 + 1] = static_cast<uint32_t>(gone ? Notice::kGone : Notice::kRoom);
  }
  try {
    callback_.MakeCallback(env.Global(), {notices}, context_);
  } catch (const Napi::Error& error) {
    // As in Monitor::Deliver: an uncaught exception, or an environment that goes down.
    if (!error.IsEmpty()) (void)napi_fatal_exception(env, error.Value());
  }
}
