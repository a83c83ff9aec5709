#include "sweeps/cell_recorder.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <tuple>

#include "kernels/error.hpp"
#include "kernels/parallel.hpp"
#include "sweeps/layer_source.hpp"
#include "sweeps/summaries.hpp"

namespace bitgrid {
namespace {

results::CellHeader header_of(const RankContext& rank, const CellJob& job) {
  return cell_header(rank.sweep, rank.sweep.cells[static_cast<std::size_t>(job.cell)], rank.inputs,
                     rank.checkpoint.fingerprint());
}

// Every window of one set, on every replica, in window order.
//   reference: the unquantized model's states of the own windows; empty: nothing is compared
std::vector<WindowScore> score_windows(RankContext& rank, const OutputWeights& output,
                                       const EvaluationText& text, WindowStates& states,
                                       const Matrix<float>& reference) {
  std::vector<WindowScore> scores(static_cast<std::size_t>(text.windows.count));
  agree_or_throw(rank.replicas, dist::attempt([&] {
                   std::vector<CrossEntropyScratch> scratches(
                       static_cast<std::size_t>(place_threads(rank.place)));
                   parallel_for(rank.place, states.own.count, [&](std::int64_t i) {
                     const std::int64_t window = states.own.first + i;
                     WindowScore& score = scores[static_cast<std::size_t>(window)];
                     CrossEntropyScratch& scratch =
                         scratches[static_cast<std::size_t>(parallel_thread_index())];
                     const std::span ids = text.windows.window(window);
                     if (reference.size() == 0)
                       score.cross_entropy = window_cross_entropy(rank.place, rank.config, output,
                                                                  states.window(i), ids, scratch);
                     else
                       score = compared_window(
                           rank.place, rank.config, output, states.window(i),
                           reference.rows_from(i * states.length(), states.length()), ids, scratch);
                     if (!std::isfinite(score.cross_entropy) || !std::isfinite(score.divergence))
                       throw Error(fmt::format("non-finite logits: {} window {}: output of lm_head",
                                               text.set, window));
                   });
                 }));
  std::vector<std::int64_t> counts;
  for (int r = 0; r < rank.topology.replicas; ++r)
    counts.push_back(replica_windows(text.windows.count, rank.sweep.calibration.shards,
                                     rank.topology.replicas, r)
                         .count *
                     static_cast<std::int64_t>(sizeof(WindowScore)));
  rank.replicas.all_gather_in_place(std::as_writable_bytes(std::span(scores)), counts,
                                    "scores of the windows");
  return scores;
}

std::vector<results::MetricRecord> measure(RankContext& rank, const CellJob& job,
                                           const OutputWeights& output,
                                           const std::vector<Matrix<float>>& reference,
                                           CellStates& states) {
  std::vector<results::MetricRecord> metrics;
  const Matrix<float> none;
  for (std::size_t i = 0; i < job.measure.size(); ++i) {
    const auto set = static_cast<std::size_t>(job.measure[i]);
    const EvaluationText& text = rank.inputs.evaluation[set];
    // Empty too where the unquantized model has failed.
    const Matrix<float>& fixed = job.compares && set < reference.size() ? reference[set] : none;
    const bool compares = rank.replicas.all_max(fixed.size() > 0, "whether to compare") != 0;
    results::MetricRecord metric = metric_header(text, rank.inputs.bos);
    for (const WindowScore& score :
         score_windows(rank, output, text, states.evaluation[i], fixed)) {
      metric.window_sums.push_back(score.cross_entropy);
      if (!compares) continue;
      metric.window_divergences.push_back(score.divergence);
      metric.window_agreements.push_back(score.agreements);
    }
    metric.value = perplexity_of(metric.window_sums, metric.length);
    if (compares)
      metric.comparison =
          comparison_of(metric.window_divergences, metric.window_agreements, metric.length);
    metrics.push_back(std::move(metric));
  }
  return metrics;
}

// Asks and scores one question set; complete on replica 0 alone.
results::TaskRecord ask(RankContext& rank, const TaskInput& input,
                        std::vector<RequestScore> scores) {
  results::TaskRecord record = input.header;
  record.scores = std::move(scores);
  agree_or_throw(rank.replicas, dist::attempt([&] {
                   if (rank.topology.replica() != 0) return;
                   const Task task = reopen_task(rank.sweep, input);
                   record.outcomes = document_outcomes(task, record.scores);
                   record.metrics = task_metrics(task, record.outcomes);
                 }));
  return record;
}

// The sets that are whole with this wave.
std::vector<results::TaskRecord> ask_all(RankContext& rank, const OutputWeights& output,
                                         CellStates& states, CellSoFar& so_far) {
  std::vector<results::TaskRecord> tasks;
  for (PackStates& part : states.tasks) {
    std::vector<RequestScore>& scores = so_far.scores[part.task];
    score_requests(rank, output, part, scores);
    if (!part.completes_task) continue;
    tasks.push_back(
        ask(rank, rank.inputs.tasks[static_cast<std::size_t>(part.task)], std::move(scores)));
    so_far.scores.erase(part.task);
  }
  return tasks;
}

// Collective: what all replicas brought along, on replica 0.
CellTravel gather_travel(RankContext& rank, CellTravel own) {
  own.peak_memory_bytes = std::max(own.peak_memory_bytes, peak_memory_bytes());
  if (std::find(own.hosts.begin(), own.hosts.end(), rank.host) == own.hosts.end())
    own.hosts.push_back(rank.host);
  const std::vector<std::string> all =
      rank.replicas.gather_text(own.to_text(), 0, "summaries of a cell");
  for (std::size_t i = 1; i < all.size(); ++i) own.merge(CellTravel::from_text(all[i]));
  return own;
}

// Measurements of before that are still good, then the new ones.
std::vector<results::MetricRecord> all_metrics(const std::optional<results::CellRecord>& before,
                                               std::vector<results::MetricRecord> fresh) {
  std::vector<results::MetricRecord> all;
  if (before)
    for (const results::MetricRecord& old : before->metrics)
      if (std::none_of(fresh.begin(), fresh.end(),
                       [&](const auto& m) { return m.same_measurement(old); }))
        all.push_back(old);
  for (results::MetricRecord& metric : fresh) all.push_back(std::move(metric));
  return all;
}

std::vector<results::TaskRecord> all_tasks(const std::optional<results::CellRecord>& before,
                                           std::vector<results::TaskRecord> fresh) {
  std::vector<results::TaskRecord> all;
  if (before)
    for (const results::TaskRecord& old : before->tasks)
      if (std::none_of(fresh.begin(), fresh.end(),
                       [&](const auto& t) { return t.fingerprint == old.fingerprint; }))
        all.push_back(old);
  for (results::TaskRecord& task : fresh) all.push_back(std::move(task));
  return all;
}

// One line per linear of the whole cell; layers that were stored by an earlier run are read back.
std::vector<results::LinearSummary> all_linears(const RankContext& rank, const CellJob& job,
                                                const results::CellHeader& header,
                                                std::vector<results::LinearSummary> fresh) {
  for (std::size_t layer = 0; layer < job.stored.size(); ++layer) {
    if (!job.stored[layer]) continue;
    for (const QuantizedLinear& linear :
         rank.store.read_layer(header, static_cast<std::int64_t>(layer)).linears)
      fresh.push_back(summarize(static_cast<std::int64_t>(layer), linear));
  }
  std::stable_sort(fresh.begin(), fresh.end(),
                   [](const auto& a, const auto& b) { return a.layer < b.layer; });
  return fresh;
}

double bits_per_weight(const Recipe& recipe, const std::vector<results::LinearSummary>& linears) {
  if (!recipe.quantizes()) return 16;
  double bits = 0, weights = 0;
  for (const results::LinearSummary& linear : linears) {
    bits += static_cast<double>(linear.stored_bits);
    weights += static_cast<double>(linear.rows) * static_cast<double>(linear.cols);
  }
  return weights > 0 ? bits / weights : 0;
}

// Those of this run: of the cell's waves so far and the one that has just ended.
void fill_run_facts(results::CellRecord& record, const CellTravel& travel, CellSoFar& so_far) {
  for (const auto& [term, spent_s] : travel.seconds) so_far.seconds[term] += spent_s;
  // A stage may have begun with this wave while the one before was still under way.
  const double started_s = std::max(travel.started_s, so_far.finished_s);
  so_far.finished_s = wall_clock_s();
  so_far.wall_s += so_far.finished_s - started_s;
  so_far.peak_memory_bytes = std::max(so_far.peak_memory_bytes, travel.peak_memory_bytes);
  for (const std::string& host : travel.hosts)
    if (std::find(so_far.hosts.begin(), so_far.hosts.end(), host) == so_far.hosts.end())
      so_far.hosts.push_back(host);
  record.seconds = so_far.seconds;
  record.finished_s = so_far.finished_s;
  record.wall_s = so_far.wall_s;
  record.peak_memory_bytes = so_far.peak_memory_bytes;
  record.hosts = so_far.hosts;
  record.shared_with = so_far.shared_with;
}

CellSummary summary_of(const results::CellRecord& record) {
  std::string text = fmt::format("{:.3f} bits", record.bits_per_weight);
  for (const results::MetricRecord& metric : record.metrics)
    text += fmt::format(", {} {:.4g}", metric.set, metric.value.perplexity);
  for (const results::TaskRecord& task : record.tasks)
    if (!task.metrics.empty())
      text += fmt::format(", {} {:.2f} %", task.task, 100 * task.metrics.front().value);
  return {text, record.wall_s};
}

}  // namespace

CellSummary measure_and_record(RankContext& rank, const CellJob& job, const OutputWeights& output,
                               const std::vector<Matrix<float>>& reference, CellStates& states,
                               CellSoFar& so_far) {
  std::vector<results::MetricRecord> fresh;
  std::vector<results::TaskRecord> tasks;
  {
    const Stopwatch watch(states.travel.seconds["evaluation"]);
    fresh = measure(rank, job, output, reference, states);
    tasks = ask_all(rank, output, states, so_far);
  }
  const CellTravel travel = gather_travel(rank, std::move(states.travel));
  CellSummary summary;
  agree_or_throw(rank.replicas, dist::attempt([&] {
                   if (rank.topology.replica() != 0) return;
                   results::CellRecord record;
                   record.header = header_of(rank, job);
                   const auto before = rank.store.read_cell(record.header);
                   record.metrics = all_metrics(before, std::move(fresh));
                   record.tasks = all_tasks(before, std::move(tasks));
                   record.linears = before && !job.first_wave()
                                        ? before->linears
                                        : all_linears(rank, job, record.header, travel.linears);
                   record.bits_per_weight = bits_per_weight(record.header.recipe, record.linears);
                   // Later waves replay the layers.
                   const bool kept = rank.sweep.run.keep_tensors || !job.last_wave();
                   record.tensors_kept = kept && record.header.recipe.quantizes();
                   fill_run_facts(record, travel, so_far);
                   rank.store.write_cell(record);
                   if (!kept) rank.store.drop_layers(record.header);
                   summary = summary_of(record);
                 }));
  return summary;
}

void record_failure(RankContext& rank, const CellJob& job, CellStates& states, CellSoFar& so_far) {
  const std::string failure = states.travel.failure;
  const CellTravel travel = gather_travel(rank, std::move(states.travel));
  agree_or_throw(rank.replicas, dist::attempt([&] {
                   if (rank.topology.replica() != 0) return;
                   results::CellRecord record;
                   record.header = header_of(rank, job);
                   record.status = results::CellStatus::failed;
                   record.failure = failure;
                   // What was measured before stays; stored layers are not read again, for one of
                   // them may be the failure.
                   const auto before = rank.store.read_cell(record.header);
                   if (before)
                     std::tie(record.metrics, record.tasks) =
                         std::tie(before->metrics, before->tasks);
                   record.linears = travel.linears;
                   if (before && !job.first_wave())
                     std::tie(record.linears, record.bits_per_weight) =
                         std::tie(before->linears, before->bits_per_weight);
                   record.tensors_kept = !record.linears.empty();
                   fill_run_facts(record, travel, so_far);
                   rank.store.write_cell(record);
                 }));
  states.travel.failure = failure;
}

}  // namespace bitgrid
