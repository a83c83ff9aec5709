#include "sweeps/stage_runner.hpp"

#include <fmt/format.h>

#include "kernels/error.hpp"
#include "sweeps/cell_recorder.hpp"
#include "sweeps/layer_quantizer.hpp"
#include "sweeps/layer_source.hpp"
#include "sweeps/summaries.hpp"

namespace bitgrid {
namespace {

const Recipe& recipe_of(const RankContext& rank, const CellJob& job) {
  return rank.sweep.cells[static_cast<std::size_t>(job.cell)];
}

results::CellHeader header_of(const RankContext& rank, const CellJob& job) {
  return cell_header(rank.sweep, recipe_of(rank, job), rank.inputs, rank.checkpoint.fingerprint());
}

bool is_stored(const CellJob& job, std::int64_t layer) {
  return !job.stored.empty() && job.stored[static_cast<std::size_t>(layer)] != 0;
}

std::string layer_summary(const std::vector<QuantizedLinear>& linears) {
  if (linears.empty()) return "";
  double worst = 0;
  std::int64_t fallbacks = 0, dead = 0;
  for (const QuantizedLinear& linear : linears) {
    worst = std::max(worst, linear.diagnostics.relative_output_error);  // a NaN never wins
    fallbacks += linear.diagnostics.fallback;
    dead += linear.diagnostics.dead_columns;
  }
  std::string text;
  if (worst > 0) text += fmt::format("output error {:.2g}", worst);
  if (dead > 0) text += fmt::format(", {} dead columns", dead);
  if (fallbacks > 0)
    text += fmt::format(", {} linears rounded to nearest: factorization failed", fallbacks);
  return text;
}

}  // namespace

StageRunner::StageRunner(RankContext& rank, const std::vector<CellJob>& jobs,
                         dist::StopRequest& stop, ProgressChannel& progress)
    : rank_(rank), jobs_(jobs), stop_(stop), progress_(progress), hand_over_(rank) {}

bool StageRunner::stop_agreed() {
  if (!verdict_.stopped)
    verdict_.stopped = rank_.replicas.all_max(stop_.requested() ? 1 : 0, "word of a stop") != 0;
  return verdict_.stopped;
}

StageVerdict StageRunner::run() {
  for (std::size_t i = 0; i < jobs_.size(); ++i) run_cell(static_cast<std::int64_t>(i));
  progress_.finish();
  hand_over_.finish();
  return verdict_;
}

// A failure that all replicas of the stage agreed on: of this cell, or of the run as a whole.
void StageRunner::take_note(const AgreedFailure& agreed, CellTravel& travel) {
  travel.failure = agreed.failure.what;
  travel.outcome = agreed.failure.ends_run ? Outcome::stopped : Outcome::failed;
  if (!agreed.failure.ends_run) return;
  if (!verdict_.run_error) verdict_.run_error = agreed.failure.what;
  verdict_.stopped = true;
  stop_.raise();
}

void StageRunner::run_cell(std::int64_t job_index) {
  const CellJob& job = jobs_[static_cast<std::size_t>(job_index)];
  CellStates states;
  try {
    states = hand_over_.arrive(job);
    if (states.travel.outcome == Outcome::stopped) verdict_.stopped = true;
    if (states.travel.outcome == Outcome::going && stop_agreed())
      states.travel.outcome = Outcome::stopped;
    if (states.travel.outcome == Outcome::going) pass_layers(job_index, states);
    if (rank_.last_stage() && states.travel.outcome == Outcome::going)
      measure_cell(job_index, states);
  } catch (const AgreedFailure& agreed) {
    take_note(agreed, states.travel);
  }
  if (!rank_.last_stage()) {
    hand_over_.depart(job, std::move(states));
  } else if (states.travel.outcome == Outcome::failed) {
    try {
      record_failure(rank_, job, states);
      progress_.cell_done(job_index, 0, "failed: " + states.travel.failure);
    } catch (const AgreedFailure& agreed) {
      // A failure that cannot be recorded must not get lost.
      take_note({{agreed.failure.what, true}}, states.travel);
    }
  }
  progress_.poll();
}

void StageRunner::measure_cell(std::int64_t job_index, CellStates& states) {
  const CellJob& job = jobs_[static_cast<std::size_t>(job_index)];
  if (output_.head.empty() && !job.measure.empty()) output_ = fetch_output(rank_);
  const CellSummary summary = measure_and_record(rank_, job, output_, states);
  progress_.cell_done(job_index, summary.seconds, summary.text);
}

void StageRunner::pass_layers(std::int64_t job_index, CellStates& states) {
  const ShardRange layers = rank_.own_layers();
  for (std::int64_t layer = layers.first; layer < layers.end(); ++layer) {
    if (stop_agreed()) {
      states.travel.outcome = Outcome::stopped;
      return;
    }
    pass_layer(job_index, layer, states);
    hand_over_.sign_of_life();
    progress_.poll();
  }
}

void StageRunner::pass_layer(std::int64_t job_index, std::int64_t layer, CellStates& states) {
  const CellJob& job = jobs_[static_cast<std::size_t>(job_index)];
  const bool calibrating = layer < job.calibration_layers();
  const bool quantize = recipe_of(rank_, job).quantizes() && !is_stored(job, layer);
  if (!quantize && !calibrating && job.measure.empty())
    return;  // stored, and nothing passes through

  LayerPass pass{
      job, layer, quantize, calibrating, layer + 1 >= job.calibration_layers(), wall_clock_s(), {}};
  try {
    LayerWeights weights = fetch_weights(pass);
    std::vector<QuantizedLinear> linears = advance_calibration(pass, weights, states);
    const std::string text = layer_summary(linears);
    if (quantize) store_layer(pass, std::move(linears), states);
    advance_evaluation(pass, weights, states);
    progress_.layer_done(job_index, layer, wall_clock_s() - pass.started_s, text);
  } catch (AgreedFailure& agreed) {
    agreed.failure.what = fmt::format("layer {}: {}", layer, agreed.failure.what);
    throw;
  }
  for (const auto& [term, spent_s] : pass.seconds) {
    states.travel.seconds[term] += spent_s;
    rank_.counters.seconds[term] += spent_s;
  }
}

LayerWeights StageRunner::fetch_weights(LayerPass& pass) {
  const Stopwatch watch(pass.seconds["io"]);
  const bool from_checkpoint = pass.quantize || !recipe_of(rank_, pass.job).quantizes();
  return from_checkpoint ? fetch_layer(rank_, pass.layer)
                         : fetch_stored_layer(rank_, header_of(rank_, pass.job), pass.layer);
}

// Quantizes the layer where it is not stored yet; calibration windows end up at its output if
// somebody still needs them.
std::vector<QuantizedLinear> StageRunner::advance_calibration(LayerPass& pass,
                                                              LayerWeights& weights,
                                                              CellStates& states) {
  WindowStates* calibration = pass.calibrating ? &states.calibration : nullptr;
  if (pass.quantize)
    return quantize_layer(rank_, recipe_of(rank_, pass.job), pass.layer, weights, calibration,
                          pass.last_calibration, pass.seconds);
  if (pass.calibrating) {
    const Stopwatch watch(pass.seconds["forward"]);
    rank_.counters.calibration_windows[static_cast<std::size_t>(pass.layer)] +=
        calibration->own.count;
    agree_or_throw(rank_.replicas, dist::attempt([&] {
                     forward_layer(rank_, weights, *calibration, "calibration");
                   }));
  }
  return {};
}

void StageRunner::advance_evaluation(LayerPass& pass, const LayerWeights& weights,
                                     CellStates& states) {
  const Stopwatch watch(pass.seconds["evaluation"]);
  agree_or_throw(rank_.replicas, dist::attempt([&] {
                   for (std::size_t i = 0; i < states.evaluation.size(); ++i) {
                     WindowStates& set = states.evaluation[i];
                     const auto which = static_cast<std::size_t>(pass.job.measure[i]);
                     forward_layer(rank_, weights, set, rank_.inputs.evaluation[which].set);
                     rank_.counters.evaluation_windows[static_cast<std::size_t>(pass.layer)] +=
                         set.own.count;
                   }
                 }));
}

void StageRunner::store_layer(LayerPass& pass, std::vector<QuantizedLinear> linears,
                              CellStates& states) {
  const Stopwatch watch(pass.seconds["io"]);
  const results::CellHeader header = header_of(rank_, pass.job);
  agree_or_throw(
      rank_.replicas, dist::attempt([&] {
        if (rank_.topology.replica() != static_cast<int>(pass.layer % rank_.topology.replicas))
          return;
        results::LayerRecord record;
        record.layer = pass.layer;
        record.linears = std::move(linears);
        record.host = rank_.host;
        record.rank = rank_.topology.rank;
        record.started_s = pass.started_s;
        record.finished_s = wall_clock_s();
        record.seconds = pass.seconds;
        std::vector<results::LinearSummary> fresh;
        for (const QuantizedLinear& linear : record.linears)
          fresh.push_back(summarize(pass.layer, linear));
        check_recomputed(rank_.store, header, fresh);
        rank_.store.write_layer(header, record);
        for (results::LinearSummary& summary : fresh)
          states.travel.linears.push_back(std::move(summary));
        ++rank_.counters.layers_quantized[static_cast<std::size_t>(pass.layer)];
      }));
}

}  // namespace bitgrid
