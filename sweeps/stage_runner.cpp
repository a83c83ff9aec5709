#include "sweeps/stage_runner.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "kernels/error.hpp"
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
  if (dead > 0) text += fmt::format(", {} dead column{}", dead, dead == 1 ? "" : "s");
  if (fallbacks > 0)
    text += fmt::format(", {} linear{} rounded to nearest: factorization failed", fallbacks,
                        fallbacks == 1 ? "" : "s");
  return text;
}

std::string in_layer(std::int64_t layer, const std::string& what) {
  return fmt::format("layer {}: {}", layer, what);
}

}  // namespace

StageRunner::StageRunner(RankContext& rank, const std::vector<CellJob>& jobs,
                         const std::vector<CellGroup>& groups, dist::StopRequest& stop,
                         ProgressChannel& progress)
    : rank_(rank),
      jobs_(jobs),
      groups_(groups),
      stop_(stop),
      progress_(progress),
      hand_over_(rank, jobs) {}

bool StageRunner::stop_agreed() {
  if (!verdict_.stopped)
    verdict_.stopped = rank_.replicas.all_max(stop_.requested() ? 1 : 0, "word of a stop") != 0;
  return verdict_.stopped;
}

StageVerdict StageRunner::run() {
  for (const CellGroup& group : groups_) run_group(group);
  progress_.finish();
  hand_over_.finish();
  return verdict_;
}

void StageRunner::take_note(const AgreedFailure& agreed, CellTravel& travel) {
  travel.failure = agreed.failure.what;
  travel.outcome = agreed.failure.ends_run ? Outcome::stopped : Outcome::failed;
  if (!agreed.failure.ends_run) return;
  if (!verdict_.run_error) verdict_.run_error = agreed.failure.what;
  verdict_.stopped = true;
  stop_.raise();
}

void StageRunner::take_note(const AgreedFailure& agreed, GroupStates& states) {
  for (CellStates& cell : states.cells)
    if (cell.going()) take_note(agreed, cell.travel);
}

void StageRunner::run_group(const CellGroup& group) {
  GroupStates states;
  states.cells.resize(group.jobs.size());
  try {
    states = hand_over_.arrive(group, failed_cells_);
    for (const CellStates& cell : states.cells)
      if (cell.travel.outcome == Outcome::stopped) verdict_.stopped = true;
    if (states.going() && stop_agreed())
      for (CellStates& cell : states.cells)
        if (cell.going()) cell.travel.outcome = Outcome::stopped;
    if (states.going()) pass_layers(group, states);
  } catch (const AgreedFailure& agreed) {
    take_note(agreed, states);
  }
  if (rank_.last_stage())
    for (std::size_t i = 0; i < group.jobs.size(); ++i)
      end_cell(group, group.jobs[i], states.cells[i]);
  for (std::size_t i = 0; i < group.jobs.size(); ++i)
    if (states.cells[i].travel.outcome == Outcome::failed)
      failed_cells_.insert(jobs_[static_cast<std::size_t>(group.jobs[i])].cell);
  if (!rank_.last_stage()) {
    hand_over_.depart(group, std::move(states));
  }
  progress_.poll();
}

// At the last stage: what there is to say of a cell is measured and stored.
void StageRunner::end_cell(const CellGroup& group, std::int64_t job_index, CellStates& states) {
  const CellJob& job = jobs_[static_cast<std::size_t>(job_index)];
  try {
    if (states.going()) measure_cell(group, job_index, states);
  } catch (const AgreedFailure& agreed) {
    take_note(agreed, states.travel);
  }
  if (states.travel.outcome != Outcome::failed) {
    if (job.last_wave()) so_far_.erase(job.cell);
    return;
  }
  try {
    if (!job.replays) record_failure(rank_, job, states, so_far_[job.cell]);
    so_far_.erase(job.cell);
    progress_.cell_done(job_index, 0, "failed: " + states.travel.failure);
  } catch (const AgreedFailure& agreed) {
    // A failure that cannot be recorded must not get lost.
    take_note({{agreed.failure.what, true}}, states.travel);
  }
}

void StageRunner::measure_cell(const CellGroup& group, std::int64_t job_index, CellStates& states) {
  const CellJob& job = jobs_[static_cast<std::size_t>(job_index)];
  if (output_.head.empty() && job.evaluates()) output_ = fetch_output(rank_);
  CellSoFar& so_far = so_far_[job.cell];
  for (const std::int64_t other : group.jobs)
    if (other != job_index)
      so_far.shared_with.push_back(
          recipe_name(recipe_of(rank_, jobs_[static_cast<std::size_t>(other)])));
  if (job.replays) {
    progress_.cell_done(job_index, wall_clock_s() - states.travel.started_s,
                        "walked again, for comparison");
  } else {
    const CellSummary summary = measure_and_record(rank_, job, output_, reference_, states, so_far);
    if (job.last_wave())
      progress_.cell_done(job_index, summary.seconds, summary.text);
    else
      progress_.wave_done(job_index, summary.seconds, summary.text);
  }
  if (!job.keeps) return;
  reference_.resize(rank_.inputs.evaluation.size());
  for (std::size_t i = 0; i < job.measure.size(); ++i)
    reference_[static_cast<std::size_t>(job.measure[i])] = std::move(states.evaluation[i].x);
}

void StageRunner::pass_layers(const CellGroup& group, GroupStates& states) {
  const ShardRange layers = rank_.own_layers();
  for (std::int64_t layer = layers.first; layer < layers.end() && states.going(); ++layer) {
    if (stop_agreed()) {
      for (CellStates& cell : states.cells)
        if (cell.going()) cell.travel.outcome = Outcome::stopped;
      return;
    }
    try {
      pass_layer(group, layer, states);
    } catch (AgreedFailure& agreed) {
      agreed.failure.what = in_layer(layer, agreed.failure.what);
      throw;
    }
    hand_over_.sign_of_life();
    progress_.poll();
  }
}

StageRunner::LayerPass StageRunner::start_pass(const CellGroup& group, std::int64_t layer,
                                               GroupStates& states) {
  LayerPass pass;
  pass.layer = layer;
  pass.full_inputs = group.full_inputs;
  pass.started_s = wall_clock_s();
  std::int64_t calibration_layers = 0;
  for (std::size_t i = 0; i < group.jobs.size(); ++i) {
    if (!states.cells[i].going()) continue;
    const CellJob& job = jobs_[static_cast<std::size_t>(group.jobs[i])];
    calibration_layers = std::max(calibration_layers, job.calibration_layers());
    const bool quantize = recipe_of(rank_, job).quantizes() && !is_stored(job, layer);
    // A stored layer that nothing passes through has nothing to do.
    if (quantize || job.evaluates() || job.calibration_layers() > layer)
      pass.cells.push_back({group.jobs[i], job, states.cells[i], quantize, {}, {}});
  }
  pass.calibrating = layer < calibration_layers;
  pass.last_calibration = layer + 1 >= calibration_layers;
  return pass;
}

void StageRunner::pass_layer(const CellGroup& group, std::int64_t layer, GroupStates& states) {
  LayerPass pass = start_pass(group, layer, states);
  if (pass.cells.empty()) return;
  const bool original = std::any_of(pass.cells.begin(), pass.cells.end(), [&](const CellPass& c) {
    return c.quantize || !recipe_of(rank_, c.job).quantizes();
  });
  if (original || (pass.full_inputs && pass.calibrating)) {
    const Stopwatch watch(pass.cells.front().seconds["io"]);
    pass.original = fetch_layer(rank_, layer);
  }
  advance_calibration(pass, states.calibration);
  for (CellPass& cell : pass.cells) {
    try {
      if (cell.member.failure) throw AgreedFailure{*cell.member.failure};
      finish_cell(pass, cell);
    } catch (AgreedFailure& agreed) {
      if (agreed.failure.ends_run || pass.cells.size() == 1) throw;
      agreed.failure.what = in_layer(layer, agreed.failure.what);
      take_note(agreed, cell.states.travel);
    }
    cell.member = {};
  }
}

// Quantizes the layer for the cells that have not stored it yet; calibration windows end up at its
// output if somebody still needs them.
void StageRunner::advance_calibration(LayerPass& pass, WindowStates& calibration) {
  std::vector<LayerMember> members;
  std::vector<CellPass*> quantizing;
  for (CellPass& cell : pass.cells) {
    if (!cell.quantize) continue;
    quantizing.push_back(&cell);
    LayerMember& member = members.emplace_back();
    member.recipe = &recipe_of(rank_, cell.job);
    member.seconds = &cell.seconds;
  }
  if (!members.empty()) {
    quantize_layer(rank_, pass.layer, pass.original, members,
                   pass.calibrating ? &calibration : nullptr, pass.last_calibration);
    for (std::size_t i = 0; i < members.size(); ++i) quantizing[i]->member = std::move(members[i]);
    return;
  }
  if (!pass.calibrating) return;
  CellPass& cell = pass.cells.front();
  if (!pass.full_inputs) {
    const Stopwatch watch(cell.seconds["io"]);
    cell.member.weights = fetch_stored_layer(rank_, header_of(rank_, cell.job), pass.layer);
  }
  const Stopwatch watch(cell.seconds["forward"]);
  rank_.counters.calibration_windows[static_cast<std::size_t>(pass.layer)] += calibration.own.count;
  agree_or_throw(rank_.replicas, dist::attempt([&] {
                   forward_layer(rank_, pass.full_inputs ? pass.original : cell.member.weights,
                                 calibration, "calibration");
                 }));
}

// The layer is stored where it is new, and the cell's evaluation windows pass through it.
void StageRunner::finish_cell(LayerPass& pass, CellPass& cell) {
  const std::string text = layer_summary(cell.member.linears);
  const bool quantizes = recipe_of(rank_, cell.job).quantizes();
  if (cell.quantize) {
    store_layer(pass, cell);
  } else if (quantizes && cell.member.weights.input_norm.empty() && cell.job.evaluates()) {
    const Stopwatch watch(cell.seconds["io"]);
    cell.member.weights = fetch_stored_layer(rank_, header_of(rank_, cell.job), pass.layer);
  }
  advance_evaluation(pass, cell, quantizes ? cell.member.weights : pass.original);
  progress_.layer_done(cell.job_index, pass.layer, wall_clock_s() - pass.started_s, text);
  for (const auto& [term, spent_s] : cell.seconds) {
    cell.states.travel.seconds[term] += spent_s;
    rank_.counters.seconds[term] += spent_s;
  }
}

void StageRunner::advance_evaluation(const LayerPass& pass, CellPass& cell,
                                     const LayerWeights& weights) {
  const Stopwatch watch(cell.seconds["evaluation"]);
  agree_or_throw(rank_.replicas, dist::attempt([&] {
                   for (std::size_t i = 0; i < cell.states.evaluation.size(); ++i) {
                     WindowStates& set = cell.states.evaluation[i];
                     const auto which = static_cast<std::size_t>(cell.job.measure[i]);
                     forward_layer(rank_, weights, set, rank_.inputs.evaluation[which].set);
                     rank_.counters.evaluation_windows[static_cast<std::size_t>(pass.layer)] +=
                         set.own.count;
                   }
                   forward_packs(rank_, weights, cell.states.tasks);
                 }));
}

void StageRunner::store_layer(const LayerPass& pass, CellPass& cell) {
  const Stopwatch watch(cell.seconds["io"]);
  const results::CellHeader header = header_of(rank_, cell.job);
  agree_or_throw(
      rank_.replicas, dist::attempt([&] {
        if (rank_.topology.replica() != static_cast<int>(pass.layer % rank_.topology.replicas))
          return;
        results::LayerRecord record;
        record.layer = pass.layer;
        record.linears = std::move(cell.member.linears);
        record.arrays = std::move(cell.member.arrays);
        record.host = rank_.host;
        record.rank = rank_.topology.rank;
        record.started_s = pass.started_s;
        record.finished_s = wall_clock_s();
        record.seconds = cell.seconds;
        std::vector<results::LinearSummary> fresh;
        for (const QuantizedLinear& linear : record.linears)
          fresh.push_back(summarize(pass.layer, linear));
        check_recomputed(rank_.store, header, fresh);
        rank_.store.write_layer(header, record);
        for (results::LinearSummary& summary : fresh)
          cell.states.travel.linears.push_back(std::move(summary));
        ++rank_.counters.layers_quantized[static_cast<std::size_t>(pass.layer)];
      }));
}

}  // namespace bitgrid
