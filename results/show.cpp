#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "kernels/error.hpp"
#include "results/rows.hpp"
#include "results/tables.hpp"
#include "results/task_columns.hpp"

namespace bitgrid::results {
namespace {

using Line = std::vector<std::string>;

std::string seconds_text(double s) {
  if (s < 0.0005) return "–";
  if (s < 10) return fmt::format("{:.2f} s", s);
  if (s < 100) return fmt::format("{:.1f} s", s);
  const auto whole = static_cast<long>(std::lround(s));
  if (whole < 3600) return fmt::format("{} min {:02} s", whole / 60, whole % 60);
  return fmt::format("{} h {:02} min", whole / 3600, whole / 60 % 60);
}

std::string bytes_text(std::int64_t bytes) {
  const auto b = static_cast<double>(bytes);
  if (b < 1024) return fmt::format("{} B", bytes);
  if (b < 1024.0 * 1024) return fmt::format("{:.1f} KiB", b / 1024);
  if (b < 1024.0 * 1024 * 1024) return fmt::format("{:.1f} MiB", b / (1024.0 * 1024));
  return fmt::format("{:.1f} GiB", b / (1024.0 * 1024 * 1024));
}

std::string time_text(double s) {
  return fmt::format("{:%Y-%m-%d %H:%M:%S} UTC", fmt::gmtime(static_cast<std::time_t>(s)));
}

// Columns that hold nothing in any line are left out.
std::string aligned(std::vector<Line> lines, std::size_t left_columns) {
  std::string out;
  std::vector<std::size_t> widths(lines.front().size(), 0);
  std::vector<bool> used(widths.size(), false);
  for (std::size_t n = 0; n < lines.size(); ++n)
    for (std::size_t i = 0; i < widths.size(); ++i) {
      widths[i] = std::max(widths[i], text_width(lines[n][i]));
      if (n > 0 && !lines[n][i].empty() && lines[n][i] != "–") used[i] = true;
    }
  for (const Line& line : lines) {
    std::string text;
    for (std::size_t i = 0; i < widths.size(); ++i)
      if (used[i])
        text += fmt::format("{}{}", text.empty() ? "" : "  ",
                            padded(line[i], widths[i], i >= left_columns));
    text.erase(text.find_last_not_of(' ') + 1);
    out += text + "\n";
  }
  return out;
}

// Layers of the model: as the run says, or as far as a finished cell shows.
std::int64_t layer_count_of(const Rows& table) {
  std::int64_t count = table.run.layer_count;
  for (const Row& row : table.rows)
    if (count == 0 && row.record)
      for (const LinearSummary& linear : row.record->linears)
        count = std::max(count, linear.layer + 1);
  return count;
}

std::string state_text(const Row& row) {
  switch (row.state) {
    case Row::State::finished:
      return "finished";
    case Row::State::failed:
      return "failed";
    case Row::State::unreadable:
      return "unreadable";
    case Row::State::unfinished:
      return row.entry.layers.empty() ? "waiting" : "started";
  }
  return "";
}

// A cell whose tensors are not kept, and the baseline, have no layers to count.
std::string layers_text(const Row& row, std::int64_t layer_count) {
  if (!row.quantizes || (row.record && !row.record->tensors_kept)) return "–";
  return layer_count > 0 ? fmt::format("{}/{}", row.entry.layers.size(), layer_count)
                         : fmt::format("{}", row.entry.layers.size());
}

// Whether a sweep is at work there now: run.h5 says whether its run has ended, the lock whether
// somebody lives who could still end it.
std::string activity(const RunRecord& run, const Reader& reader) {
  const std::optional<std::string> writer = reader.writer();
  if (run.finished_s > 0) {
    const std::string ended = "ended after " + seconds_text(run.finished_s - run.started_s);
    return writer.value_or("").empty()
               ? ended
               : fmt::format("{}; another sweep has been started there ({})", ended, *writer);
  }
  if (!writer) return "no end recorded: running, or cut short";
  if (!writer->empty()) return fmt::format("running now ({})", *writer);
  return "cut short: nobody is at work there; run the sweep again to go on";
}

std::string heading(const Reader& reader, const RunRecord& run) {
  std::string out =
      fmt::format("{}: sweep {} of {} (fingerprint {:.12}), bitgrid {}\n", reader.path(), run.name,
                  run.model, run.model_fingerprint, run.version);
  out += fmt::format("{} rank{} = {} stage{} x {} replica{}, {} thread{} each, {}, BLAS {}\n",
                     run.ranks, run.ranks == 1 ? "" : "s", run.stages, run.stages == 1 ? "" : "s",
                     run.replicas, run.replicas == 1 ? "" : "s", run.threads,
                     run.threads == 1 ? "" : "s", run.device, run.blas);
  return out + fmt::format("started {}, {}\n", time_text(run.started_s), activity(run, reader));
}

std::string progress(const Rows& table) {
  const auto count = [&](Row::State state) {
    return std::count_if(table.rows.begin(), table.rows.end(),
                         [&](const Row& row) { return row.state == state; });
  };
  std::string out =
      fmt::format("{} of {} cells finished", count(Row::State::finished), table.rows.size());
  const auto unasked = std::count_if(table.rows.begin(), table.rows.end(), [&](const Row& row) {
    if (row.state != Row::State::finished) return false;
    for (std::size_t task = 0; task < table.run.tasks.size(); ++task)
      if (find_task(*row.record, table.run, task) == nullptr) return true;
    return false;
  });
  if (unasked > 0) out += fmt::format(" ({} with question sets still to ask)", unasked);
  if (const auto n = count(Row::State::failed)) out += fmt::format(", {} failed", n);
  if (const auto n = count(Row::State::unreadable)) out += fmt::format(", {} unreadable", n);
  return out + "\n";
}

// The planner's seconds for a cell: the run lists cells in its own order.
double predicted_of(const RunRecord& run, const Row& row) {
  const auto it = std::find(run.cell_keys.begin(), run.cell_keys.end(), row.entry.key);
  const auto i = static_cast<std::size_t>(it - run.cell_keys.begin());
  return i < run.cell_predicted_s.size() ? run.cell_predicted_s[i] : 0;
}

std::string cells_table(const Rows& table) {
  std::set<std::string> terms;
  for (const Row& row : table.rows)
    if (row.record)
      for (const auto& [term, s] : row.record->seconds) terms.insert(term);
  Line head = {"cell", "state", "layers", "bits/weight", "time", "predicted", "memory"};
  head.insert(head.end(), terms.begin(), terms.end());
  std::vector<Line> lines = {head};
  const std::int64_t layer_count = layer_count_of(table);
  for (const Row& row : table.rows) {
    const CellRecord* record = row.record ? &*row.record : nullptr;
    Line line = {row.entry.name, state_text(row), layers_text(row, layer_count)};
    line.push_back(
        row.state == Row::State::finished ? fmt::format("{:.2f}", record->bits_per_weight) : "–");
    line.push_back(record ? seconds_text(record->wall_s) : "–");
    line.push_back(seconds_text(predicted_of(table.run, row)));
    line.push_back(record && record->peak_memory_bytes > 0 ? bytes_text(record->peak_memory_bytes)
                                                           : "–");
    for (const std::string& term : terms) {
      const bool there = record != nullptr && record->seconds.contains(term);
      line.push_back(there ? seconds_text(record->seconds.at(term)) : "–");
    }
    lines.push_back(std::move(line));
  }
  return aligned(std::move(lines), 2);
}

// Accuracies of the question sets, one line per cell.
std::string tasks_table(const Rows& table) {
  Line head = {"cell"};
  for (const std::string& text : task_heads(table, TableMetric::acc)) head.push_back(text);
  std::vector<Line> lines = {head};
  for (const Row& row : table.rows) {
    if (row.state != Row::State::finished) continue;
    Line line = task_texts(*row.record, table.run, TableMetric::acc);
    line.insert(line.begin(), row.entry.name);
    lines.push_back(std::move(line));
  }
  return lines.size() == 1 ? "" : "\naccuracy in percent\n" + aligned(std::move(lines), 1);
}

// How far each cell's predictions are from the unquantized model's.
std::string comparisons_table(const Rows& table) {
  if (!has_comparisons(table)) return "";
  Line head = {"cell"};
  for (const std::string& set : table.run.sets)
    head.insert(head.end(), {set + " KL", set + " top-1"});
  std::vector<Line> lines = {head};
  for (const Row& row : table.rows) {
    if (row.state != Row::State::finished || !row.quantizes) continue;
    Line line = {row.entry.name};
    for (std::size_t set = 0; set < table.run.sets.size(); ++set) {
      const MetricRecord* metric = find_metric(*row.record, table.run, set);
      const bool compared = metric != nullptr && metric->compared();
      line.push_back(compared ? divergence_text(metric->comparison) : "–");
      line.push_back(compared ? agreement_text(metric->comparison) : "–");
    }
    lines.push_back(std::move(line));
  }
  return "\nagainst the unquantized model: KL divergence in nats per token, percent of the same "
         "likeliest token\n" +
         aligned(std::move(lines), 1);
}

// What must not stay unnoticed: failed cells, unreadable files, fallbacks of the methods.
std::string remarks(const Rows& table, const Reader& reader) {
  std::string out;
  for (const Row& row : table.rows) {
    if (row.state == Row::State::failed)
      out += fmt::format("{} failed: {}\n", row.entry.name, row.record->failure);
    if (row.state == Row::State::unreadable)
      out += fmt::format("{}: {}\n", row.entry.name, row.fault);
    if (!row.record) continue;
    const auto& linears = row.record->linears;
    const auto fallbacks =
        std::count_if(linears.begin(), linears.end(),
                      [](const LinearSummary& l) { return l.diagnostics.fallback; });
    if (fallbacks > 0)
      out += fmt::format("{}: {} of {} linears fell back to rounding to nearest\n", row.entry.name,
                         fallbacks, linears.size());
  }
  std::string unlisted;
  for (const Reader::Entry& entry : reader.cells())
    if (!entry.listed) unlisted += fmt::format("{}{}", unlisted.empty() ? "" : ", ", entry.name);
  if (!unlisted.empty()) out += fmt::format("kept, but not in the sweep file: {}\n", unlisted);
  return out;
}

std::int64_t sum(const std::vector<std::int64_t>& values) {
  return std::accumulate(values.begin(), values.end(), std::int64_t{0});
}

RankCounters total_of(const std::vector<RankCounters>& counters) {
  RankCounters total;
  for (const RankCounters& c : counters) {
    total.layers_read.push_back(sum(c.layers_read));
    total.weight_bytes_read += c.weight_bytes_read;
    total.calibration_windows.push_back(sum(c.calibration_windows));
    total.evaluation_windows.push_back(sum(c.evaluation_windows));
    total.rows_solved.push_back(sum(c.rows_solved));
    total.layers_quantized.push_back(sum(c.layers_quantized));
    total.layers_replayed.push_back(sum(c.layers_replayed));
    total.requests_scored += c.requests_scored;
    total.peak_memory_bytes = std::max(total.peak_memory_bytes, c.peak_memory_bytes);
    for (const auto& [term, s] : c.seconds) total.seconds[term] += s;
  }
  return total;
}

// One line per rank and one that sums them (memory: the largest). Windows and rows are counted per
// layer.
std::string ranks_table(const RunRecord& run) {
  if (run.counters.empty()) return "no counters: the run has not ended, or was cut short\n";
  const RankCounters total = total_of(run.counters);
  Line head = {"rank",
               "stage",
               "replica",
               "host",
               "layers read",
               "bytes read",
               "calibration windows",
               "evaluation windows",
               "rows solved",
               "quantized",
               "replayed",
               "requests scored",
               "memory"};
  for (const auto& [term, s] : total.seconds) head.push_back(term);
  std::vector<Line> lines = {head};
  const auto add = [&](Line line, const RankCounters& c) {
    line.insert(
        line.end(),
        {fmt::format("{}", sum(c.layers_read)), bytes_text(c.weight_bytes_read),
         fmt::format("{}", sum(c.calibration_windows)),
         fmt::format("{}", sum(c.evaluation_windows)), fmt::format("{}", sum(c.rows_solved)),
         fmt::format("{}", sum(c.layers_quantized)), fmt::format("{}", sum(c.layers_replayed)),
         c.requests_scored > 0 ? fmt::format("{}", c.requests_scored) : "–",
         bytes_text(c.peak_memory_bytes)});
    for (const auto& [term, s] : total.seconds)
      line.push_back(c.seconds.contains(term) ? seconds_text(c.seconds.at(term)) : "–");
    lines.push_back(std::move(line));
  };
  for (const RankCounters& c : run.counters)
    add({std::to_string(c.rank), std::to_string(c.stage), std::to_string(c.replica), c.host}, c);
  add({"all", "", "", ""}, total);
  return aligned(std::move(lines), 4);
}

}  // namespace

std::string show(const Reader& reader, bool ranks) {
  const Rows table = collect_rows(reader);
  std::string out =
      fmt::format("{}{}\n{}", heading(reader, table.run), progress(table), cells_table(table));
  out += comparisons_table(table);
  if (!table.run.tasks.empty()) out += tasks_table(table);
  if (const std::string text = remarks(table, reader); !text.empty()) out.append("\n").append(text);
  if (ranks) out.append("\n").append(ranks_table(table.run));
  return out;
}

}  // namespace bitgrid::results
