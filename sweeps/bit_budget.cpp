#include "sweeps/bit_budget.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "core/methods/budget.hpp"
#include "core/methods/mixed_precision.hpp"
#include "core/methods/recipe_needs.hpp"
#include "kernels/error.hpp"
#include "sweeps/calibration_walk.hpp"
#include "sweeps/hand_over.hpp"
#include "sweeps/layer_source.hpp"

namespace bitgrid {
namespace {

using Json = nlohmann::json;

// What one cell's linears of this rank's stage lose at each number of bits.
struct CellSurvey {
  std::size_t job = 0;
  const Recipe* recipe = nullptr;
  std::string failure;
  std::map<std::int64_t, std::vector<BitsCandidate>> linears;  // by layer · kLinearCount + linear
};

class Survey {
 public:
  Survey(RankContext& rank, const std::vector<CellJob>& jobs, dist::StopRequest& stop)
      : rank_(rank), stop_(stop), job_{}, hand_over_(rank, job_) {
    CellJob walk;
    walk.stored.assign(static_cast<std::size_t>(rank.config.layer_count), 0);
    walk.calibrate = true;
    job_.push_back(std::move(walk));
    for (std::size_t i = 0; i < jobs.size(); ++i) {
      const Recipe& recipe = rank.sweep.cells[static_cast<std::size_t>(jobs[i].cell)];
      if (recipe.has_budget() && jobs[i].layers_missing() > 0)
        cells_.push_back({i, &recipe, {}, {}});
    }
  }

  bool needed() const { return !cells_.empty(); }
  std::vector<CellSurvey>& cells() { return cells_; }

  StageVerdict run() {
    StageVerdict verdict;
    const CellGroup group{{0}, true};
    GroupStates states;
    states.cells.resize(1);
    try {
      states = hand_over_.arrive(group, {});
      if (states.going()) pass_layers(states, verdict);
    } catch (const AgreedFailure& agreed) {
      CellTravel& travel = states.cells[0].travel;  // not before: arriving replaces the cells
      travel.failure = agreed.failure.what;
      travel.outcome = Outcome::failed;
      for (CellSurvey& cell : cells_)
        if (cell.failure.empty()) cell.failure = agreed.failure.what;
      if (agreed.failure.ends_run) {
        verdict.run_error = agreed.failure.what;
        verdict.stopped = true;
        stop_.raise();
      }
    }
    if (!rank_.last_stage()) hand_over_.depart(group, std::move(states));
    hand_over_.finish();
    return verdict;
  }

 private:
  void pass_layers(GroupStates& states, StageVerdict& verdict) {
    const ShardRange layers = rank_.own_layers();
    for (std::int64_t layer = layers.first; layer < layers.end(); ++layer) {
      if (rank_.replicas.all_max(stop_.requested() ? 1 : 0, "word of a stop") != 0) {
        states.cells[0].travel.outcome = Outcome::stopped;
        verdict.stopped = true;
        return;
      }
      try {
        survey_layer(layer, states.calibration);
      } catch (AgreedFailure& agreed) {
        agreed.failure.what = fmt::format("layer {}: {}", layer, agreed.failure.what);
        throw;
      }
      hand_over_.sign_of_life();
    }
  }

  void survey_layer(std::int64_t layer, WindowStates& calibration) {
    const LayerWeights weights = fetch_layer(rank_, layer);
    rank_.counters.calibration_windows[static_cast<std::size_t>(layer)] += calibration.own.count;
    StatisticsNeeds needs = {.gram = true};
    for (const CellSurvey& cell : cells_) needs = needs | recipe_needs(*cell.recipe).rounding;
    CalibrationWalk walk(rank_, layer, weights, calibration, rank_.counters.seconds);
    for (const Tap tap : kTaps) {
      TapInputs inputs = walk.go_to(tap, needs);
      for (CellSurvey& cell : cells_)
        if (cell.failure.empty()) survey_tap(cell, layer, inputs, weights);
    }
    if (layer + 1 < rank_.config.layer_count) walk.finish();
  }

  void survey_tap(CellSurvey& cell, std::int64_t layer, TapInputs& inputs,
                  const LayerWeights& weights) {
    try {
      for (const double bits : budget_choices(*cell.recipe))
        round_candidates(cell, layer, inputs, weights, bits);
    } catch (const AgreedFailure& agreed) {
      if (agreed.failure.ends_run) throw;
      cell.failure = fmt::format("layer {}: {}", layer, agreed.failure.what);
    }
  }

  void round_candidates(CellSurvey& cell, std::int64_t layer, TapInputs& inputs,
                        const LayerWeights& weights, double bits) {
    TapTask task;
    task.layer = layer;
    task.tap = inputs.tap;
    task.seed = static_cast<std::uint64_t>(rank_.sweep.calibration.seed);
    task.gram_is_known = true;
    for (const Linear linear : linears_of(inputs.tap)) {
      const auto fixed = fixed_bits(*cell.recipe, layer, linear);
      if (fixed && bits != budget_choices(*cell.recipe).front())
        continue;  // its only candidate has been seen
      task.linears.push_back(
          {linear, weights[linear].view(), with_bits(*cell.recipe, fixed.value_or(bits))});
    }
    if (task.linears.empty()) return;
    std::vector<RoundedLinear> rounded;
    run_together(rank_.replicas, [&] {
      RankTapWork work(inputs, rank_.counters.seconds);
      rounded =
          with_context(tap_text(inputs.tap), [&] { return round_tap(rank_.place, task, work); });
    });
    for (std::size_t i = 0; i < rounded.size(); ++i) {
      const QuantizedLinear& stored = rounded[i].stored;
      const double error = stored.diagnostics.relative_output_error;
      if (!std::isfinite(error))  // on all replicas alike
        throw AgreedFailure{{fmt::format("{}: the output error is {} at {} bits: no bits can be "
                                         "chosen by it",
                                         stored.name, error, task.linears[i].recipe.bits),
                             false}};
      const double weight_count = static_cast<double>(stored.rows * stored.cols);
      cell.linears[layer * kLinearCount + static_cast<int>(task.linears[i].linear)].push_back(
          {task.linears[i].recipe.bits, std::llround(stored.bits_per_weight() * weight_count),
           error});
    }
  }

  RankContext& rank_;
  dist::StopRequest& stop_;
  std::vector<CellJob> job_;  // the walk as a job of its own
  HandOver hand_over_;
  std::vector<CellSurvey> cells_;
};

// By cell: {failure, [[linear, [[bits, stored bits, error] …]] …]}.
Json survey_json(const std::vector<CellSurvey>& cells) {
  Json all = Json::array();
  for (const CellSurvey& cell : cells) {
    Json linears = Json::array();
    for (const auto& [index, candidates] : cell.linears) {
      Json list = Json::array();
      for (const BitsCandidate& c : candidates) list.push_back({c.bits, c.stored_bits, c.error});
      linears.push_back({index, list});
    }
    all.push_back({cell.failure, linears});
  }
  return all;
}

void add_survey(const Json& all, std::vector<CellSurvey>& cells) {
  for (std::size_t i = 0; i < cells.size(); ++i) {
    if (cells[i].failure.empty()) cells[i].failure = all[i][0];
    for (const Json& linear : all[i][1]) {
      std::vector<BitsCandidate>& list = cells[i].linears[linear[0]];
      list.clear();
      for (const Json& c : linear[1]) list.push_back({c[0], c[1], c[2]});
    }
  }
}

// By cell: {failure, [bits of each linear]}.
Json choose(std::vector<CellSurvey>& cells, const LlamaConfig& config) {
  Json all = Json::array();
  for (CellSurvey& cell : cells) {
    Json bits = Json::array();
    if (cell.failure.empty()) try {
        std::int64_t weights = 0;
        std::vector<std::vector<BitsCandidate>> candidates;
        for (std::int64_t layer = 0; layer < config.layer_count; ++layer)
          for (const Linear linear : kLinears) {
            candidates.push_back(
                std::move(cell.linears[layer * kLinearCount + static_cast<int>(linear)]));
            weights += linear_rows(config, linear) * linear_cols(config, linear);
          }
        const auto chosen = choose_candidates(candidates, budget_limit(cell.recipe->bits, weights));
        for (std::size_t l = 0; l < chosen.size(); ++l)
          bits.push_back(candidates[l][chosen[l]].bits);
      } catch (const Error& e) {
        cell.failure = e.what();
      }
    all.push_back({cell.failure, bits});
  }
  return all;
}

}  // namespace

StageVerdict choose_bits(RankContext& rank, Sweep& sweep, std::vector<CellJob>& jobs,
                         dist::StopRequest& stop) {
  Survey survey(rank, jobs, stop);
  if (!survey.needed()) return {};
  StageVerdict verdict = survey.run();
  const bool stopped = rank.world.all_max(verdict.stopped ? 1 : 0, "verdict of a survey") != 0;
  verdict.stopped = stopped;
  std::vector<CellSurvey>& cells = survey.cells();
  const std::string own = rank.topology.replica() == 0 ? survey_json(cells).dump() : std::string();
  const std::vector<std::string> all =
      rank.world.gather_text(own, 0, "errors of the stages' linears");
  Json choice;
  if (rank.topology.rank == 0 && !stopped) {
    for (const std::string& text : all)
      if (!text.empty()) add_survey(Json::parse(text), cells);
    choice = choose(cells, rank.config);
  }
  choice = Json::parse(rank.world.broadcast_text(choice.dump(), 0, "bits of the linears"));
  if (stopped) return verdict;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    CellJob& job = jobs[cells[i].job];
    job.failure = choice[i][0];
    sweep.cells[static_cast<std::size_t>(job.cell)].chosen_bits =
        choice[i][1].get<std::vector<double>>();
  }
  return verdict;
}

}  // namespace bitgrid
