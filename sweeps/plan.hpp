#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/model/llama_config.hpp"
#include "core/text/datasets.hpp"
#include "kernels/place.hpp"
#include "sweeps/sweep.hpp"
#include "sweeps/waves.hpp"

namespace bitgrid {

// What a sweep will cost, from shapes alone: nothing of the model but its configuration is read.

struct EvaluationSize {  // one perplexity set, cut into windows
  std::string set;
  std::int64_t windows = 0;
  std::int64_t length = 0;
};

struct TaskSize {  // one question set in packs
  std::string task;
  std::int64_t requests = 0;
  std::int64_t tokens = 0;               // computed, what requests share once
  std::int64_t attended = 0;             // pairs of tokens that see each other
  std::int64_t rows = 0;                 // tokens that reach the output head
  std::int64_t pack_tokens = 0;          // of the largest pack
  std::vector<std::int64_t> packs = {};  // tokens of each
  // Likewise where requests go alone; empty if no cell of the sweep asks so.
  std::vector<std::int64_t> lone_packs = {};
};
struct EvaluationSizes {
  std::vector<EvaluationSize> texts;
  std::vector<TaskSize> tasks;
  bool empty() const { return texts.empty() && tasks.empty(); }
};

struct Inputs;
EvaluationSizes evaluation_sizes(const Sweep& sweep, const Inputs& inputs);
// The listed sets as a recipe asks them.
std::vector<TaskPacks> packs_of(const EvaluationSizes& sizes, const Recipe& recipe,
                                std::span<const std::int64_t> tasks);
// What the first job of a cell does beside asking question sets.
struct FirstJob {
  bool calibrates = false;
  bool only_asks = false;
};
WaveRules wave_rules(const Sweep& sweep, const Recipe& recipe, const PackRooms& rooms,
                     const FirstJob& first);

struct PlanWorld {
  int stages = 1;
  int replicas = 1;
  int threads = 1;  // of each rank
  // Bytes that a rank may have where [run] memory is "auto"; 0: not known.
  std::int64_t memory = 0;
};

// What one rank does in a second with so many threads; another number of threads is taken in
// proportion.
struct MachineRates {
  int threads = 1;
  double linear_gflops = 50;  // fp32 products of a forward pass
  double gram_gflops = 50;    // fp32 Gram matrices
  double factor_gflops = 10;  // fp64 Cholesky and triangular inverse
  double memory_gbytes = 10;  // read and written
};
// Runs the operations themselves on small matrices, for less than half a second on a current
// machine.
MachineRates measure_machine(const Place& place);

// Floating-point operations of a cell over all layers and ranks; a multiply-add counts as two.
struct CellFlops {
  double forward = 0;     // calibration windows through the layers
  double statistics = 0;  // Gram matrices
  double factorization = 0;
  double solve = 0;       // column loop, and measuring the outputs' errors
  double evaluation = 0;  // perplexity windows through layers and head
  double total() const { return forward + statistics + factorization + solve + evaluation; }
  CellFlops& operator+=(const CellFlops& other);
  bool operator==(const CellFlops&) const = default;
};

struct CellPlan {
  std::string name;
  CellFlops flops;
  double bits_per_weight = 16;    // of the linears, all that is stored to rebuild them counted
  std::int64_t output_bytes = 0;  // tensors; metrics and attributes are small beside them
  double seconds = 0;             // that the busiest stage works on it
  std::int64_t waves = 1;         // in which its question sets are asked
  // The cell whose walks, statistics and factors this one uses, so that they cost it nothing;
  // empty: it has its own.
  std::string shares_with;
};

// Bytes of the rank that needs most, in fp32 unless said otherwise.
struct RankMemory {
  std::int64_t hidden = 0;   // residual streams of its calibration and evaluation windows, packs
  std::int64_t taps = 0;     // inputs of the linears of its calibration windows
  std::int64_t weights = 0;  // two layers: one in use, one arriving
  std::int64_t statistics =
      0;  // partial Gram matrices, or the Gram matrix, its fp64 factor and the fp32 result
  std::int64_t head = 0;     // the output head of the last stage
  std::int64_t scratch = 0;  // of all threads
  // How many cells that see the unquantized model's inputs go through the layers together.
  std::int64_t shared_cells = 1;
  // Whether the widest tap is kept; where it would not fit it is made again, shard by shard.
  bool keeps_widest_tap = true;
  // What packs of question sets have room for; those of a cell go through the layers in waves.
  PackRooms rooms;
  std::int64_t waves = 1;    // of the cell that has most
  std::int64_t limit = 0;    // [run] memory, or what "auto" stands for; 0: none
  bool limit_given = false;  // in the sweep file
  std::int64_t total() const { return hidden + taps + weights + statistics + head + scratch; }
};

struct Plan {
  std::string name;
  PlanWorld world;
  LlamaConfig config;
  Sweep::Calibration calibration;
  EvaluationSizes evaluation;
  MachineRates rates;

  std::vector<std::string> warnings;
  std::vector<CellPlan> cells;
  CellFlops flops;  // of all cells
  RankMemory memory;
  std::int64_t output_bytes = 0;
  double efficiency = 1;  // share of the time that a stage is busy: G/(G + S − 1)
  double seconds = 0;     // wall time of the sweep
};

// Throws InputError naming the linear whose columns a cell's group does not divide.
Plan make_plan(const Sweep& sweep, const LlamaConfig& config, const PlanWorld& world,
               const EvaluationSizes& evaluation, const MachineRates& rates);

RankMemory rank_memory(const Sweep& sweep, const LlamaConfig& config, const PlanWorld& world,
                       const EvaluationSizes& evaluation);
// One line: what a rank needs, what it may have, what to change. "" where it fits.
std::string memory_warning(const RankMemory& memory);

// The plan as a table for a terminal.
std::string plan_text(const Plan& plan);

// "7.9 GiB", "512 B".
std::string bytes_text(std::int64_t bytes);

}  // namespace bitgrid
