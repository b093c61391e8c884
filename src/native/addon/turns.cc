#include "turns.h"

#include <uv.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>

#include "errors.h"

namespace {

constexpr uint64_t kLong = 5'000'000;

struct Turns {
  uv_prepare_t prepare;
  uint64_t at;
  uint64_t idle;
  uint64_t count = 0;
  uint64_t many = 0;
  uint64_t longest = 0;
  napi_async_cleanup_hook_handle hook = nullptr;
};

thread_local Turns* current = nullptr;

void OnPrepare(uv_prepare_t* prepare) {
  auto* turns = static_cast<Turns*>(prepare->data);
  const uint64_t now = uv_hrtime();
  const uint64_t idle = uv_metrics_idle_time(prepare->loop);
  const uint64_t passed = now - turns->at;
  const uint64_t waited = std::min(idle - turns->idle, passed);
  turns->at = now;
  turns->idle = idle;
  turns->count++;
  if (passed - waited > kLong) turns->many++;
  turns->longest = std::max(turns->longest, passed - waited);
}

void OnEnvironmentEnd(napi_async_cleanup_hook_handle, void* data) {
  current = nullptr;
  uv_close(reinterpret_cast<uv_handle_t*>(&static_cast<Turns*>(data)->prepare), [](uv_handle_t* handle) {
    auto* turns = static_cast<Turns*>(handle->data);
    (void)napi_remove_async_cleanup_hook(turns->hook);
    delete turns;
  });
}

// 0 or an errno.
int Begin(napi_env env) {
  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(env, &loop) != napi_ok) return ECANCELED;
  auto* turns = new Turns{{}, uv_hrtime(), uv_metrics_idle_time(loop)};
  if (napi_add_async_cleanup_hook(env, OnEnvironmentEnd, turns, &turns->hook) != napi_ok) {
    delete turns;
    return ECANCELED;
  }
  // Neither can fail (libuv's documentation, uv_prepare_t).
  (void)uv_prepare_init(loop, &turns->prepare);
  turns->prepare.data = turns;
  (void)uv_prepare_start(&turns->prepare, OnPrepare);
  uv_unref(reinterpret_cast<uv_handle_t*>(&turns->prepare));
  current = turns;
  return 0;
}

}  // namespace

Napi::Value LoopTurns(const Napi::CallbackInfo& info) {
  const int error = current == nullptr ? Begin(info.Env()) : 0;
  if (error != 0) throw SystemError(info.Env(), error, "uv_prepare_start");
  auto numbers = Napi::Float64Array::New(info.Env(), 3);
  numbers[0] = static_cast<double>(current->count);
  numbers[1] = static_cast<double>(current->many);
  numbers[2] = static_cast<double>(current->longest);
  current->longest = 0;
  return numbers;
}
