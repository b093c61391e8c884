#include "file_errand.h"

#include <map>
#include <utility>

#include "errors.h"
#include "files.h"

namespace {

const std::map<std::string, FileStep::Op> kOps = {
    {"mkdir", FileStep::Op::kMakeDirectory}, {"write", FileStep::Op::kWrite},   {"symlink", FileStep::Op::kSymlink},
    {"remove", FileStep::Op::kRemove},       {"exists", FileStep::Op::kExists}, {"read", FileStep::Op::kRead},
    {"gather", FileStep::Op::kGather},       {"executable", FileStep::Op::kExecutable}};

std::string Text(const Napi::Object& object, const char* name) {
  const auto value = object.Get(name);
  return value.IsString() ? value.As<Napi::String>().Utf8Value() : std::string();
}

FileStep StepOf(const Napi::Object& object) {
  const auto op = kOps.find(Text(object, "op"));
  if (op == kOps.end()) throw Napi::TypeError::New(object.Env(), "there is no such step on files");
  FileStep step{op->second, Text(object, "path"), std::string(), false, 0, {}};
  switch (step.op) {
    case FileStep::Op::kWrite:
      step.text = Text(object, "text");
      step.sync = object.Get("sync").ToBoolean();
      break;
    case FileStep::Op::kSymlink: step.text = Text(object, "target"); break;
    case FileStep::Op::kGather: step.text = Text(object, "name"); break;
    case FileStep::Op::kRead: step.limit = static_cast<uint64_t>(object.Get("limit").ToNumber().Int64Value()); break;
    case FileStep::Op::kExecutable: {
      const auto paths = object.Get("paths").As<Napi::Array>();
      for (uint32_t i = 0; i < paths.Length(); i++) step.paths.push_back(paths.Get(i).ToString().Utf8Value());
      break;
    }
    default: break;
  }
  return step;
}

class FileErrand : public Napi::AsyncWorker {
 public:
  FileErrand(Napi::Env env, std::vector<FileStep> steps) : Napi::AsyncWorker(env), deferred_(Napi::Promise::Deferred::New(env)), steps_(std::move(steps)) {}

  Napi::Promise promise() const { return deferred_.Promise(); }

 protected:
  void Execute() override { failure_ = RunFileSteps(steps_, &results_); }

  void OnOK() override {
    if (failure_.error != 0) {
      auto error = SystemError(Env(), failure_.error, std::string(failure_.syscall) + " " + failure_.path);
      error.Set("syscall", Napi::String::New(Env(), failure_.syscall));
      error.Set("path", Napi::String::New(Env(), failure_.path));
      error.Set("step", Napi::Number::New(Env(), static_cast<double>(failure_.step)));
      deferred_.Reject(error.Value());
      return;
    }
    auto list = Napi::Array::New(Env(), results_.size());
    for (uint32_t i = 0; i < results_.size(); i++) list.Set(i, Value(steps_[i].op, results_[i]));
    deferred_.Resolve(list);
  }

 private:
  Napi::Value Value(FileStep::Op op, const FileResult& result) const {
    if (op == FileStep::Op::kExists) return Napi::Boolean::New(Env(), result.there);
    if (!result.there) return Env().Undefined();
    return Napi::String::New(Env(), result.text);
  }

  Napi::Promise::Deferred deferred_;
  std::vector<FileStep> steps_;
  std::vector<FileResult> results_;
  FileFailure failure_;
};

}  // namespace

Napi::Value FileSteps(const Napi::CallbackInfo& info) {
  const auto list = info[0].As<Napi::Array>();
  std::vector<FileStep> steps;
  steps.reserve(list.Length());
  for (uint32_t i = 0; i < list.Length(); i++) steps.push_back(StepOf(list.Get(i).As<Napi::Object>()));
  auto* errand = new FileErrand(info.Env(), std::move(steps));
  const auto promise = errand->promise();
  errand->Queue();
  return promise;
}
