#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dist/comm.hpp"

namespace bitgrid {

// `bitgrid eval`: a checkpoint by itself, without quantizing anything.
struct EvalCommand {
  std::string model;
  std::vector<std::string> tasks;       // built-in names, or .toml files that define a set
  std::vector<std::string> perplexity;  // named sets, .txt or .jsonl
  std::string data = "data";            // where the named sets lie, as [data] dir
  std::string out;                      // "": MODEL.eval in the working directory
  std::string profile = "lmeh-0.4";
  std::string bos = "auto";
  std::string device = "auto";
  std::int64_t length = 2048;
  std::int64_t mmlu_shots = 5;
  std::int64_t limit = 0;
  std::string wave = "auto";
  int threads = 0;  // 0: auto
  bool quiet = false;
};

// The sweep with the baseline as its only cell that this stands for. Throws InputError naming the
// option.
std::string eval_sweep_text(const EvalCommand& command);

// Collective over the world: runs it, stores it in `out`, where it is resumed from, and prints the
// table. Returns the sweep's exit code.
int run_eval(dist::Comm& world, const EvalCommand& command);

}  // namespace bitgrid
