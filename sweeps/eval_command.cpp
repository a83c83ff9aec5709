#include "sweeps/eval_command.hpp"

#include <fmt/format.h>

#include <filesystem>

#include "core/evaluation/task_definition.hpp"
#include "kernels/error.hpp"
#include "results/store.hpp"
#include "results/tables.hpp"
#include "sweeps/runner.hpp"
#include "sweeps/sweep_toml.hpp"

namespace bitgrid {
namespace {

std::string quoted_list(const std::vector<std::string>& words) {
  std::vector<std::string> quoted;
  for (const std::string& word : words) quoted.push_back(toml_quote(word));
  return fmt::format("[{}]", fmt::join(quoted, ", "));
}

// The directory's own name, however its path is written.
std::string model_name(const std::string& model) {
  const std::filesystem::path path = std::filesystem::absolute(model).lexically_normal();
  return (path.has_filename() ? path : path.parent_path()).filename().string();
}

std::string output_of(const EvalCommand& command) {
  return std::filesystem::absolute(command.out.empty() ? model_name(command.model) + ".eval"
                                                       : command.out)
      .string();
}

}  // namespace

std::string eval_sweep_text(const EvalCommand& command) {
  if (command.tasks.empty() && command.perplexity.empty())
    throw InputError("eval: nothing to evaluate: give --tasks, --perplexity or both");
  for (const std::string& task : command.tasks)
    if (!task.ends_with(".toml")) with_context("--tasks", [&] { find_task(task); });
  return fmt::format(
      "name = {}\nmodel = {}\noutput = {}\n[data]\ndir = {}\n"
      "[evaluation]\nperplexity = {}\nlength = {}\nbos = {}\ntasks = {}\nprofile = {}\n"
      "mmlu_shots = {}\nlimit = {}\nwave = {}\n"
      "[run]\ndevice = {}\nthreads = {}\n[[grid]]\nmethod = \"fp16\"\n",
      toml_quote(model_name(command.model)), toml_quote(command.model),
      toml_quote(output_of(command)), toml_quote(command.data), quoted_list(command.perplexity),
      command.length, toml_quote(command.bos), quoted_list(command.tasks),
      toml_quote(command.profile), command.mmlu_shots, command.limit, toml_quote(command.wave),
      toml_quote(command.device),
      command.threads > 0 ? fmt::format("{}", command.threads) : "\"auto\"");
}

int run_eval(dist::Comm& world, const EvalCommand& command) {
  SweepCommand sweep;
  sweep.file = "eval";
  sweep.quiet = command.quiet;
  const auto refused = dist::attempt([&] { sweep.text = eval_sweep_text(command); });
  if (refused) {
    if (world.rank() == 0) fmt::print(stderr, "bitgrid: {}\n", refused->what);
    return 2;
  }
  const int code = run_sweep(world, sweep);
  if (world.rank() == 0 && (code == 0 || code == 1))
    fmt::print("{}", results::table(results::Reader::open(output_of(command)), {}));
  return code;
}

}  // namespace bitgrid
