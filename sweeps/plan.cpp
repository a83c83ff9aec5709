#include "sweeps/plan.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <numeric>
#include <set>

#include "core/methods/budget.hpp"
#include "core/methods/costs.hpp"
#include "core/methods/recipe_needs.hpp"
#include "core/methods/resolve_recipe.hpp"
#include "core/methods/storage.hpp"
#include "core/model/cost.hpp"
#include "core/tuning/layer_gradient.hpp"
#include "kernels/shard_tree.hpp"
#include "sweeps/inputs.hpp"
#include "sweeps/jobs.hpp"

namespace bitgrid {
namespace {

constexpr double kGiga = 1e9;
// Operations on single elements reach about this share of the speed of products: measured with the
// searches of fdb, billm and slim-llm, 0.15 to 0.27.
constexpr double kElementwiseSpeed = 0.2;
// W is read, its codes and the weights rebuilt from them are written and read again.
constexpr double kRoundBytes = 24;
// Packs may have this part of what a rank needs beside them even if memory does not suffice.
constexpr std::int64_t kLeastShareOfPacks = 10;
// Tokens whose logits exist at a time, per thread (core/evaluation/perplexity.cpp).
constexpr std::int64_t kLogitTokens = 256;

double real(std::int64_t count) { return static_cast<double>(count); }
std::size_t at(Tap tap) { return static_cast<std::size_t>(tap); }

// One layer of a cell, all windows.
CellFlops layer_flops_of(const LayerCost& cost, double evaluation) {
  return {cost.walks + cost.searches, cost.statistics, cost.factorization, cost.solve, evaluation};
}

double layer_evaluation(const LlamaConfig& config, const EvaluationSizes& evaluation) {
  double flops = 0;
  for (const auto& set : evaluation.texts)
    flops += layer_flops(config, {set.windows, set.length}).forward();
  for (const auto& task : evaluation.tasks)
    flops += layer_flops(config, {1, task.tokens}).linears +
             4 * real(config.query_size()) * real(task.attended);
  return flops;
}

CellFlops times(const CellFlops& flops, double factor) {
  return {flops.forward * factor, flops.statistics * factor, flops.factorization * factor,
          flops.solve * factor, flops.evaluation * factor};
}

// Of one layer, beside the arithmetic: 16-bit weights are read and widened, by every rank; stored
// ones are rebuilt.
double replay_seconds(const LlamaConfig& config, const MachineRates& rates) {
  const double weights = real(parameter_counts(config).layer_linears);
  return (2 * weights + 4 * weights) / (rates.memory_gbytes * kGiga);
}

// Of one layer, on the replicas of its stage. The factorization is one replica's work; everything
// else is shared.
double layer_seconds(const Recipe& recipe, const LayerCost& cost, double evaluation,
                     const LlamaConfig& config, const PlanWorld& world, const MachineRates& rates) {
  const double speed = real(world.threads) / real(rates.threads) * kGiga;
  const double products = cost.walks + cost.searches + cost.solve - cost.elementwise + evaluation;
  const double shared = (products + cost.elementwise / kElementwiseSpeed) / rates.linear_gflops +
                        cost.statistics / rates.gram_gflops;
  double seconds = (shared / world.replicas + cost.factorization / rates.factor_gflops) / speed;
  const double weights = real(parameter_counts(config).layer_linears);
  seconds += replay_seconds(config, rates);
  if (recipe.quantizes())
    seconds += kRoundBytes * weights / world.replicas / (rates.memory_gbytes * kGiga);
  return seconds;
}

// In fp64: packed partial sums and a square to work in while shards are added; then the whole
// matrix and the triangle that is factored, and in fp32 U and a copy of S.
std::int64_t statistics_bytes(std::int64_t in, std::int64_t shards) {
  const auto partials = static_cast<std::int64_t>(
      std::bit_width(static_cast<std::uint64_t>(std::max<std::int64_t>(shards, 1))));
  const std::int64_t square = in * in;
  const std::int64_t summing = 8 * square + partials * 4 * in * (in + 1);
  const std::int64_t factoring = 8 * square + 8 * square + 4 * square + 4 * square;
  return std::max(summing, factoring);
}

// Tuning keeps the windows at a layer's input, behind the original layer, and on their walk.
constexpr std::int64_t kTuningStates = 3;

// Cells that share walks, statistics and factors where they go through the layers together.
bool can_share(const Recipe& recipe) {
  return recipe_needs(recipe).any() && recipe_full_inputs(recipe);
}

struct MemoryChoice {
  bool keeps_widest_tap = true;
  std::int64_t shared_cells = 1;
  std::int64_t reference = 0;  // bytes of the unquantized model's last states, kept for comparing
};

// Of the replica that has most of them.
std::int64_t reference_bytes(const Sweep& sweep, const LlamaConfig& config, const PlanWorld& world,
                             const EvaluationSizes& evaluation) {
  std::int64_t most = 0;
  if (!compared_cell(sweep)) return most;
  for (int replica = 0; replica < world.replicas; ++replica) {
    std::int64_t bytes = 0;
    for (const auto& set : evaluation.texts)
      bytes +=
          replica_windows(set.windows, sweep.calibration.shards, world.replicas, replica).count *
          memory_bytes(config, set.length).window_hidden;
    most = std::max(most, bytes);
  }
  return most;
}

// Without the hidden states of packs.
RankMemory memory_of(const Sweep& sweep, const LlamaConfig& config, const PlanWorld& world,
                     const EvaluationSizes& evaluation, const MemoryChoice& choice) {
  const auto& c = sweep.calibration;
  const bool calibrates = std::any_of(sweep.cells.begin(), sweep.cells.end(),
                                      [](const Recipe& r) { return uses_calibration(r); });
  const bool tunes = std::any_of(sweep.cells.begin(), sweep.cells.end(),
                                 [](const Recipe& r) { return recipe_tuning(r) != nullptr; });
  RankMemory memory;
  memory.keeps_widest_tap = choice.keeps_widest_tap;
  memory.shared_cells = choice.shared_cells;
  const MemoryBytes calibration = memory_bytes(config, c.length);
  // Cells that go together have a quantized layer each; tuning has the layer before rounding, and
  // the one that is being tuned.
  memory.weights = ((choice.shared_cells > 1 ? 2 + choice.shared_cells : 2) + (tunes ? 2 : 0)) *
                   calibration.layer;
  for (int replica = 0; replica < world.replicas; ++replica) {
    const auto windows = [&](std::int64_t count) {
      return replica_windows(count, c.shards, world.replicas, replica).count;
    };
    std::int64_t hidden = calibrates ? windows(c.windows) * calibration.window_hidden : 0;
    if (tunes) hidden *= kTuningStates;
    for (const auto& set : evaluation.texts)
      hidden += choice.shared_cells * windows(set.windows) *
                memory_bytes(config, set.length).window_hidden;
    memory.hidden = std::max(memory.hidden, hidden);
    if (!calibrates) continue;
    // The inputs of q, k, v and of gate, up share one place.
    const std::int64_t widest = calibration.window_tap[at(Tap::mlp_hidden)];
    std::int64_t taps = windows(c.windows) * (calibration.window_tap[at(Tap::attention_input)] +
                                              calibration.window_tap[at(Tap::attention_output)]);
    // Made again: per thread one window's, and a shard's.
    const std::int64_t shard_windows_max = (c.windows + c.shards - 1) / c.shards;
    taps += choice.keeps_widest_tap ? windows(c.windows) * widest
                                    : world.threads * (1 + shard_windows_max) * widest;
    memory.taps = std::max(memory.taps, taps);
    const std::int64_t shards = replica_shards(c.shards, world.replicas, replica).count;
    for (const Tap tap : kTaps)
      memory.statistics =
          std::max(memory.statistics, statistics_bytes(tap_size(config, tap), shards));
  }
  memory.hidden += choice.reference;
  std::int64_t scratch = calibrates ? calibration.window_scratch : 0;
  if (tunes) scratch = std::max(scratch, layer_trace_bytes(config, c.length));
  const auto logits = [&](std::int64_t rows, std::int64_t models) {
    return 4 * std::min(kLogitTokens, rows) * (models * config.vocab_size + config.hidden_size);
  };
  const std::int64_t models = choice.reference > 0 ? 2 : 1;
  for (const auto& set : evaluation.texts)
    scratch = std::max(
        {scratch, memory_bytes(config, set.length).window_scratch, logits(set.length, models)});
  for (const auto& task : evaluation.tasks)
    scratch = std::max(
        {scratch, memory_bytes(config, task.pack_tokens).window_scratch, logits(task.rows, 1)});
  memory.scratch = world.threads * scratch;
  if (!evaluation.empty()) memory.head = calibration.head;
  return memory;
}

// Of a job that asks question sets, packs not counted: without calibration, and without perplexity
// sets where it replays layers for a further wave.
RankMemory asking_memory(const Sweep& sweep, const LlamaConfig& config, const PlanWorld& world,
                         EvaluationSizes evaluation, bool measures, std::int64_t reference) {
  Sweep asking = sweep;
  asking.cells.clear();
  if (!measures) evaluation.texts.clear();
  return memory_of(asking, config, world, evaluation, {true, 1, reference});
}

std::int64_t pack_bytes(const LlamaConfig& config, std::int64_t tokens) {
  return 4 * config.hidden_size * tokens;
}

// The waves of a cell that is made from scratch.
std::vector<Wave> fresh_waves(const Sweep& sweep, const Recipe& recipe, const PackRooms& rooms,
                              const std::vector<TaskPacks>& packs) {
  const FirstJob first{recipe_needs(recipe).any(),
                       !recipe.quantizes() && sweep.evaluation.perplexity.empty()};
  return split_waves(packs, wave_rules(sweep, recipe, rooms, first));
}

std::vector<TaskPacks> all_packs(const EvaluationSizes& sizes, const Recipe& recipe) {
  std::vector<std::int64_t> tasks(sizes.tasks.size());
  std::iota(tasks.begin(), tasks.end(), 0);
  return packs_of(sizes, recipe, tasks);
}

// Adds the packs of the fullest wave there is to what that wave's job has beside it.
RankMemory with_packs(const Sweep& sweep, const LlamaConfig& config,
                      const EvaluationSizes& evaluation, const RankMemory& calibrating,
                      const RankMemory& measuring, const RankMemory& alone) {
  RankMemory largest = calibrating;
  std::int64_t most_waves = 1;
  const auto consider = [&](const RankMemory& job, std::int64_t tokens) {
    RankMemory memory = job;
    memory.hidden += pack_bytes(config, tokens);
    if (memory.total() > largest.total()) largest = memory;
  };
  std::set<std::array<bool, 4>> seen;
  for (const Recipe& recipe : sweep.cells) {
    const bool calibrates = recipe_needs(recipe).any();
    if (!seen.insert({calibrates, can_share(recipe), asks_alone(recipe), recipe.quantizes()})
             .second)
      continue;
    const std::vector<TaskPacks> packs = all_packs(evaluation, recipe);
    const std::vector<Wave> waves = fresh_waves(sweep, recipe, calibrating.rooms, packs);
    most_waves = std::max(most_waves, std::ssize(waves));
    for (std::size_t w = 0; w < waves.size(); ++w) {
      const std::int64_t tokens = wave_tokens(waves[w], packs, calibrating.rooms.replicas);
      if (w > 0)
        consider(alone, tokens);
      else if (calibrates)
        consider(calibrating, tokens * (can_share(recipe) ? calibrating.shared_cells : 1));
      else
        consider(measuring, tokens);
    }
  }
  largest.waves = most_waves;
  largest.shared_cells = calibrating.shared_cells;
  largest.keeps_widest_tap = calibrating.keeps_widest_tap;
  largest.rooms = calibrating.rooms;
  return largest;
}

// The mean over layers: they differ where bits are mixed. Where bits are chosen under a budget, it
// is taken to be used up as far as it can be.
void add_storage(const Recipe& recipe, const LlamaConfig& config, CellPlan& cell) {
  if (!recipe.quantizes()) return;
  for (const Linear linear : kLinears)
    check_group(recipe, linear_name(linear), linear_cols(config, linear));
  const double weights = real(parameter_counts(config).layer_linears) * real(config.layer_count);
  if (recipe.has_budget()) {
    cell.bits_per_weight = std::min(recipe.bits, budget_range(recipe, config).most_per_weight());
    cell.output_bytes = static_cast<std::int64_t>(cell.bits_per_weight * weights / 8);
    return;
  }
  StoredBytes bytes;
  for (std::int64_t layer = 0; layer < config.layer_count; ++layer)
    for (const Linear linear : kLinears)
      bytes += stored_bytes(recipe_for_linear(recipe, layer, linear), linear,
                            linear_rows(config, linear), linear_cols(config, linear));
  cell.bits_per_weight = 8 * real(bytes.required) / weights;
  cell.output_bytes = bytes.all;
}

// Leaves out what a cell gets from the cells before it in its group.
class Sharing {
 public:
  explicit Sharing(std::int64_t most) : most_(most) {}
  void apply(const Recipe& recipe, CellPlan& cell, LayerCost& layer) {
    if (!can_share(recipe)) return;
    if (members_ == 0 || members_ == most_) {
      first_ = cell.name;
      factors_ = {factor_name(recipe)};
      members_ = 1;
      return;
    }
    ++members_;
    cell.shares_with = first_;
    layer.walks = layer.statistics = 0;
    if (!factors_.insert(factor_name(recipe)).second) layer.factorization = 0;
  }

 private:
  std::int64_t most_, members_ = 0;
  std::string first_;
  std::set<std::string> factors_;
};

//   compares: with the unquantized model, whose logits are made beside the cell's own
CellPlan plan_cell(const Sweep& sweep, const Recipe& recipe, const Plan& plan,
                   const Workload& calibration, bool compares, Sharing& sharing) {
  const LlamaConfig& config = plan.config;
  CellPlan cell;
  cell.name = recipe_name(recipe);
  add_storage(recipe, config, cell);
  LayerCost layer = layer_cost(recipe, config, calibration);
  sharing.apply(recipe, cell, layer);
  const double evaluation = layer_evaluation(config, plan.evaluation);
  cell.flops = times(layer_flops_of(layer, evaluation), real(config.layer_count));
  double head = 0;
  for (const auto& set : plan.evaluation.texts)
    head += (compares ? 2 : 1) * head_flops(config, {set.windows, set.length});
  for (const auto& task : plan.evaluation.tasks) head += head_flops(config, {1, task.rows});
  cell.flops.evaluation += head;

  const double each = layer_seconds(recipe, layer, evaluation, config, plan.world, plan.rates);
  const double speed = plan.rates.linear_gflops * kGiga * plan.world.threads / plan.rates.threads;
  const double on_head = head / speed / plan.world.replicas;
  const std::int64_t waves =
      std::ssize(fresh_waves(sweep, recipe, plan.memory.rooms, all_packs(plan.evaluation, recipe)));
  cell.waves = std::max<std::int64_t>(waves, 1);
  const double replays = real(cell.waves - 1) * replay_seconds(config, plan.rates);
  for (int stage = 0; stage < plan.world.stages; ++stage) {
    const double layers = real(shard_windows(config.layer_count, plan.world.stages, stage).count);
    cell.seconds = std::max(
        cell.seconds, layers * (each + replays) + (stage + 1 == plan.world.stages ? on_head : 0));
  }
  return cell;
}

}  // namespace

EvaluationSizes evaluation_sizes(const Sweep& sweep, const Inputs& inputs) {
  const bool alone = std::any_of(sweep.cells.begin(), sweep.cells.end(), asks_alone);
  EvaluationSizes sizes;
  for (const EvaluationText& text : inputs.evaluation)
    sizes.texts.push_back({text.set, text.windows.count, text.windows.length});
  for (const TaskInput& input : inputs.tasks) {
    TaskSize& size = sizes.tasks.emplace_back();
    size.task = input.header.task;
    size.requests = std::ssize(input.requests.requests);
    if (alone)
      for (const RequestPack& pack : lone_packs(input.requests))
        size.lone_packs.push_back(pack.tree.tokens());
    for (const RequestPack& pack : input.packs) {
      size.tokens += pack.tree.tokens();
      size.attended += pack.tree.attended();
      size.pack_tokens = std::max(size.pack_tokens, pack.tree.tokens());
      size.packs.push_back(pack.tree.tokens());
      std::int32_t last = -1;
      for (const PackTarget& target : pack.targets) {
        size.rows += target.row != last;
        last = target.row;
      }
    }
  }
  return sizes;
}

std::vector<TaskPacks> packs_of(const EvaluationSizes& sizes, const Recipe& recipe,
                                std::span<const std::int64_t> tasks) {
  const bool alone = asks_alone(recipe);
  std::vector<TaskPacks> packs;
  for (const std::int64_t task : tasks) {
    const TaskSize& size = sizes.tasks[static_cast<std::size_t>(task)];
    packs.push_back({task, alone ? size.lone_packs : size.packs});
  }
  return packs;
}

WaveRules wave_rules(const Sweep& sweep, const Recipe& recipe, const PackRooms& rooms,
                     const FirstJob& first) {
  WaveRules rules;
  rules.set_by_set = sweep.evaluation.wave == "task";
  rules.room = rooms.alone;
  rules.replicas = rooms.replicas;
  if (first.only_asks) return rules;
  rules.first_room = !first.calibrates   ? rooms.measuring
                     : can_share(recipe) ? rooms.shared
                                         : rooms.calibrating;
  return rules;
}

RankMemory rank_memory(const Sweep& sweep, const LlamaConfig& config, const PlanWorld& world,
                       const EvaluationSizes& evaluation) {
  const bool given = sweep.run.memory_bytes > 0;
  const std::int64_t limit = given ? sweep.run.memory_bytes : world.memory;
  const std::int64_t sharing = std::count_if(sweep.cells.begin(), sweep.cells.end(), can_share);
  const std::int64_t reference = reference_bytes(sweep, config, world, evaluation);
  MemoryChoice choice{true, std::clamp<std::int64_t>(sharing, 1, kGroupCells), reference};
  const auto total = [&](const MemoryChoice& c) {
    return memory_of(sweep, config, world, evaluation, c).total();
  };
  while (limit > 0 && choice.shared_cells > 1 && total(choice) > limit) choice.shared_cells /= 2;
  const MemoryChoice again{false, choice.shared_cells, reference};
  if (limit > 0 && total(choice) > limit && total(again) < total(choice)) choice = again;
  RankMemory memory = memory_of(sweep, config, world, evaluation, choice);
  memory.limit = limit;
  memory.limit_given = given;
  memory.rooms.replicas = world.replicas;
  if (evaluation.tasks.empty()) return memory;
  RankMemory measuring = asking_memory(sweep, config, world, evaluation, true, reference);
  RankMemory alone = asking_memory(sweep, config, world, evaluation, false, reference);
  measuring.limit = alone.limit = limit;
  measuring.limit_given = alone.limit_given = given;
  if (limit > 0) {
    const auto room = [&](const RankMemory& beside) {
      return std::max<std::int64_t>(0, limit - beside.total()) / pack_bytes(config, 1);
    };
    memory.rooms.calibrating = room(memory);
    memory.rooms.shared = room(memory) / choice.shared_cells;
    memory.rooms.measuring = room(measuring);
    memory.rooms.alone = room(alone);
    // Where not even one pack fits there is a warning, and nothing to be gained by a wave for each.
    std::int64_t largest = 0;
    for (const auto& task : evaluation.tasks) largest = std::max(largest, task.pack_tokens);
    if (memory.rooms.alone < largest)
      memory.rooms.alone = alone.total() / kLeastShareOfPacks / pack_bytes(config, 1);
  }
  return with_packs(sweep, config, evaluation, memory, measuring, alone);
}

CellFlops& CellFlops::operator+=(const CellFlops& other) {
  forward += other.forward;
  statistics += other.statistics;
  factorization += other.factorization;
  solve += other.solve;
  evaluation += other.evaluation;
  return *this;
}

Plan make_plan(const Sweep& sweep, const LlamaConfig& config, const PlanWorld& world,
               const EvaluationSizes& evaluation, const MachineRates& rates) {
  Plan plan;
  plan.name = sweep.name;
  plan.world = world;
  plan.config = config;
  plan.calibration = sweep.calibration;
  plan.evaluation = evaluation;
  plan.rates = rates;
  plan.memory = rank_memory(sweep, config, world, evaluation);
  plan.warnings = budget_warnings(sweep, config);
  const Workload calibration{sweep.calibration.windows, sweep.calibration.length};
  Sharing sharing(plan.memory.shared_cells);
  const std::optional<std::int64_t> fixed = compared_cell(sweep);
  for (std::size_t i = 0; i < sweep.cells.size(); ++i) {
    const bool compares = fixed && static_cast<std::int64_t>(i) != *fixed;
    plan.cells.push_back(plan_cell(sweep, sweep.cells[i], plan, calibration, compares, sharing));
    CellPlan& cell = plan.cells.back();
    if (!sweep.run.keep_tensors) cell.output_bytes = 0;
    plan.flops += cell.flops;
    plan.output_bytes += cell.output_bytes;
    plan.seconds += cell.seconds;
  }
  // A stage waits while the first job comes down to it and the last one goes on from it: S − 1
  // jobs' time. A cell is as many jobs as its question sets have waves.
  std::int64_t jobs = 0;
  for (const CellPlan& cell : plan.cells) jobs += cell.waves;
  const double cells = std::max(1.0, real(jobs));
  plan.efficiency = cells / (cells + world.stages - 1);
  plan.seconds /= plan.efficiency;
  return plan;
}

}  // namespace bitgrid
