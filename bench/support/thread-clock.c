// threadClock(numbers): CPU time that the calling thread has had, in milliseconds (CLOCK_THREAD_CPUTIME_ID, clock_gettime(2)): [0]
// now; [1] when the loop first went to wait since the last call, 0 when it did not; [2] the most that one turn of the loop took since
// then in which this was not called. getrusage(2), which is what Node.js has, goes by ticks of some milliseconds.
#include <node_api.h>
#include <time.h>
#include <uv.h>

static uv_prepare_t prepare;
static double waited;    // since the last call, 0: not yet
static double turn;      // when the last turn ended
static double unwatched; // the longest of them

static double now(void) {
  struct timespec time = { 0, 0 };
  return clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time) < 0 ? 0 : (double) time.tv_sec * 1e3 + (double) time.tv_nsec / 1e6;
}

static void on_prepare(uv_prepare_t *handle) {
  (void) handle;
  const double at = now();
  if (waited == 0) waited = at;
  else if (at - turn > unwatched) unwatched = at - turn;
  turn = at;
}

static napi_value thread_clock(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value array = NULL;
  void *data = NULL;
  if (napi_get_cb_info(env, info, &count, &array, NULL, NULL) != napi_ok) return NULL;
  if (napi_get_typedarray_info(env, array, NULL, NULL, &data, NULL, NULL) != napi_ok) return NULL;
  double *numbers = data;
  numbers[0] = now();
  numbers[1] = waited;
  numbers[2] = unwatched;
  waited = unwatched = 0;
  return NULL;
}

NAPI_MODULE_INIT() {
  napi_value function = NULL;
  uv_loop_t *loop = NULL;
  if (napi_get_uv_event_loop(env, &loop) != napi_ok || uv_prepare_init(loop, &prepare) != 0 || uv_prepare_start(&prepare, on_prepare) != 0) return exports;
  uv_unref((uv_handle_t *) &prepare);
  if (napi_create_function(env, "threadClock", NAPI_AUTO_LENGTH, thread_clock, NULL, &function) != napi_ok) return exports;
  return function;
}
