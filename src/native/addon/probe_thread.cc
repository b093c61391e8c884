#include "probe_thread.h"

#include <signal.h>

#include <memory>
#include <system_error>
#include <thread>
#include <utility>

#include "errors.h"

namespace {

struct Call {
  Napi::Promise::Deferred deferred;
  ProbeTarget target;
  ProbeResult result;
};

void Settle(Napi::Env env, Call* call) {
  auto result = Napi::Object::New(env);
  result.Set("healthy", Napi::Boolean::New(env, call->result.healthy));
  result.Set("output", Napi::String::New(env, call->result.output));
  call->deferred.Resolve(result);
}

}  // namespace

// Never a thread of libuv's pool: it would take the other network along into whatever it does next.
Napi::Value ProbeOnThread(Napi::Env env, ProbeTarget target) {
  auto call = std::make_unique<Call>(Call{Napi::Promise::Deferred::New(env), std::move(target), {}});
  const Napi::Promise promise = call->deferred.Promise();
  auto back = Napi::ThreadSafeFunction::New(env, Napi::Function::New(env, [](const Napi::CallbackInfo&) {}), "longshore.probe", 0, 1);
  // The thread takes no signals: they are for the ones that Node has set up for them.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    std::thread([back, owned = std::move(call)]() mutable {
      owned->result = RunProbe(owned->target);
      owned->target.network = UniqueFd();
      // Refused while the environment goes down: then nobody waits any more.
      auto* handed = owned.get();
      const napi_status status = back.BlockingCall(handed, [](Napi::Env env, Napi::Function, Call* call) {
        const std::unique_ptr<Call> taken(call);
        if (env != nullptr) Settle(env, taken.get());
      });
      if (status == napi_ok) (void)owned.release();
      if (status != napi_closing) back.Release();
    }).detach();
  } catch (const std::system_error& error) {
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    back.Release();
    throw SystemError(env, error.code().value(), "pthread_create");
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return promise;
}
