#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "core/model/cost.hpp"
#include "sweeps/plan.hpp"
#include "sweeps/progress.hpp"

namespace bitgrid {
namespace {

std::string flops_text(double flops) {
  constexpr const char* kPrefixes[] = {"", "k", "M", "G", "T", "P", "E", "Z"};
  std::size_t prefix = 0;
  while (flops >= 999.5 && prefix + 1 < std::size(kPrefixes)) {
    flops /= 1000;
    ++prefix;
  }
  if (flops == 0) return "-";
  return fmt::format("{:.{}f} {}", flops, flops < 9.95 ? 1 : 0, kPrefixes[prefix]);
}

std::string counted(std::int64_t count, const std::string& what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

std::vector<std::string> row(const std::string& name, const std::string& bits, const CellFlops& f,
                             std::int64_t bytes, double seconds) {
  return {name,
          bits,
          flops_text(f.forward),
          flops_text(f.statistics),
          flops_text(f.factorization),
          flops_text(f.solve),
          flops_text(f.evaluation),
          bytes == 0 ? "-" : bytes_text(bytes),
          duration_text(seconds)};
}

// The first column to the left, the others to the right, two blanks between.
std::string table_text(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths(rows.front().size(), 0);
  for (const auto& cells : rows)
    for (std::size_t c = 0; c < cells.size(); ++c) widths[c] = std::max(widths[c], cells[c].size());
  std::string out;
  for (const auto& cells : rows) {
    out += fmt::format("{:<{}}", cells[0], widths[0]);
    for (std::size_t c = 1; c < cells.size(); ++c)
      out += fmt::format("  {:>{}}", cells[c], widths[c]);
    out += '\n';
  }
  return out;
}

std::string head_text(const Plan& plan) {
  const auto& w = plan.world;
  const auto& c = plan.calibration;
  const ParameterCounts counts = parameter_counts(plan.config);
  std::string out =
      fmt::format("{}: {} on {} ({} x {}, {} each)\n", plan.name,
                  counted(static_cast<std::int64_t>(plan.cells.size()), "cell"),
                  counted(std::int64_t{w.stages} * w.replicas, "rank"), counted(w.stages, "stage"),
                  counted(w.replicas, "replica"), counted(w.threads, "thread"));
  out += fmt::format("model: {}, hidden {}, {} parameters, {} of them in linears\n",
                     counted(plan.config.layer_count, "layer"), plan.config.hidden_size,
                     flops_text(static_cast<double>(counts.total)),
                     flops_text(static_cast<double>(counts.layer_linears) *
                                static_cast<double>(plan.config.layer_count)));
  out += fmt::format("calibration: {}, {} of {} tokens in {}\nevaluation:", c.data,
                     counted(c.windows, "window"), c.length, counted(c.shards, "shard"));
  if (plan.evaluation.empty()) out += " none";
  std::string sets;
  for (const auto& set : plan.evaluation.texts)
    sets += fmt::format("{} {}, {} of {} tokens", sets.empty() ? "" : ";", set.set,
                        counted(set.windows, "window"), set.length);
  for (const auto& task : plan.evaluation.tasks)
    sets += fmt::format("{} {}, {} in {} tokens", sets.empty() ? "" : ";", task.task,
                        counted(task.requests, "request"), task.tokens);
  out += sets;
  return out + "\n\n";
}

std::string memory_text(const Plan& plan) {
  const RankMemory& m = plan.memory;
  std::string out = fmt::format("memory of a rank: {}", bytes_text(m.total()));
  std::string terms;
  const auto add = [&](const char* name, std::int64_t bytes) {
    if (bytes > 0)
      terms += fmt::format("{}{} {}", terms.empty() ? "" : ", ", name, bytes_text(bytes));
  };
  add("hidden states", m.hidden);
  add("taps", m.taps);
  add("weights", m.weights);
  add("statistics", m.statistics);
  add("head", m.head);
  add("scratch", m.scratch);
  out += fmt::format(" ({})\n", terms);
  if (!m.keeps_widest_tap) out += "the widest tap does not fit: it is made again, shard by shard\n";
  if (m.waves > 1)
    out += fmt::format("question sets: {} waves, with the layers replayed for each but the first\n",
                       m.waves);
  if (const std::string warning = memory_warning(m); !warning.empty()) return out + warning + "\n";
  if (m.limit_given) {
    out += fmt::format("within the {} that [run] memory allows\n", bytes_text(m.limit));
  } else if (m.limit > 0) {
    out += fmt::format("this machine has {} left: room for {}\n", bytes_text(m.limit),
                       counted(m.limit / std::max<std::int64_t>(m.total(), 1), "such rank"));
  }
  return out;
}

// Which cells cost less because another one has done part of their work.
std::string sharing_text(const Plan& plan) {
  std::map<std::string, std::string> shared;
  for (const CellPlan& cell : plan.cells)
    if (!cell.shares_with.empty())
      shared[cell.shares_with] += (shared[cell.shares_with].empty() ? "" : ", ") + cell.name;
  std::string out;
  for (const auto& [first, others] : shared)
    out += fmt::format("shared with {} (walk, statistics, equal factors): {}\n", first, others);
  return out.empty() ? out : out + "\n";
}

}  // namespace

std::string bytes_text(std::int64_t bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1023.5 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  return fmt::format("{:.{}f} {}", value, unit > 0 && value < 99.95 ? 1 : 0, kUnits[unit]);
}

std::string memory_warning(const RankMemory& memory) {
  if (memory.limit == 0 || memory.total() <= memory.limit) return "";
  const std::int64_t of_windows = memory.hidden + memory.taps;
  const std::int64_t of_model = memory.weights + memory.statistics + memory.head;
  std::string remedy = "use more replicas or fewer windows";
  if (memory.scratch > of_windows && memory.scratch > of_model) {
    remedy = "use fewer threads per rank or shorter windows";
  } else if (of_model > of_windows) {
    remedy = "use fewer ranks on each machine";
  }
  return fmt::format("warning: a rank needs about {}, more than the {} that {}; {}{}",
                     bytes_text(memory.total()), bytes_text(memory.limit),
                     memory.limit_given ? "[run] memory allows" : "this machine has left for it",
                     remedy, memory.limit_given ? ", or raise [run] memory" : "");
}

std::string plan_text(const Plan& plan) {
  std::vector<std::vector<std::string>> rows = {
      {"cell", "bits", "forward", "gram", "factor", "solve", "evaluate", "output", "time"}};
  double seconds = 0;
  for (const auto& cell : plan.cells) {
    rows.push_back(row(cell.name, fmt::format("{:.3f}", cell.bits_per_weight), cell.flops,
                       cell.output_bytes, cell.seconds));
    seconds += cell.seconds;
  }
  rows.push_back(row("sum", "", plan.flops, plan.output_bytes, seconds));
  std::string out = head_text(plan) + table_text(rows);
  out += "(floating-point operations over all ranks; time on the busiest stage)\n\n" +
         sharing_text(plan) + memory_text(plan);
  for (const std::string& warning : plan.warnings) out += "warning: " + warning + "\n";
  out += fmt::format("output: {}\n", bytes_text(plan.output_bytes));
  const MachineRates& r = plan.rates;
  out += fmt::format(
      "time: {} ({} at work {:.0f} % of it), at {:.3g} GFLOP/s in products, {:.3g} in Gram "
      "matrices, {:.3g} "
      "in factors, {:.3g} GB/s, with {}\n",
      duration_text(plan.seconds), plan.world.stages == 1 ? "the ranks" : "each stage",
      100 * plan.efficiency, r.linear_gflops, r.gram_gflops, r.factor_gflops, r.memory_gbytes,
      counted(r.threads, "thread"));
  return out;
}

}  // namespace bitgrid
