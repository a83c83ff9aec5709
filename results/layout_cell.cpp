#include <fmt/format.h>

#include "kernels/error.hpp"
#include "results/fields.hpp"
#include "results/layout.hpp"

namespace bitgrid::results {
namespace {

template <class Io, class Metric>
void metric_fields(Io& io, Metric& m) {
  io("set", m.set);
  io("protocol", m.protocol);
  io("length", m.length);
  io("text_fingerprint", m.text_fingerprint);
  io("ids_fingerprint", m.ids_fingerprint);
  io("bos", m.bos);
  io("perplexity", m.value.perplexity);
  io("cross_entropy", m.value.cross_entropy);
  io("cross_entropy_error", m.value.cross_entropy_error);
  io("perplexity_error", m.value.perplexity_error);
  io("windows", m.value.windows);
  io("tokens", m.value.tokens);
  io.column("window_sums", m.window_sums);
}

template <class Io, class Metric>
void comparison_fields(Io& io, Metric& m) {
  io("divergence", m.comparison.divergence);
  io("divergence_error", m.comparison.divergence_error);
  io("agreement", m.comparison.agreement);
  io("agreement_error", m.comparison.agreement_error);
  io.column("window_divergences", m.window_divergences);
  io.column("window_agreements", m.window_agreements);
}

template <class Io, class Cell>
void cell_fields(Io& io, Cell& c) {
  header_fields(io, c.header);
  io("sweep_text", c.header.sweep_text);
  io("failure", c.failure);
  io("bits_per_weight", c.bits_per_weight);
  io("tensors_kept", c.tensors_kept);
  io("wall_s", c.wall_s);
  io("peak_memory_bytes", c.peak_memory_bytes);
  io("hosts", c.hosts);
  io("shared_with", c.shared_with);
  io("finished_s", c.finished_s);
  io.seconds(c.seconds);
}

// The table of a finished cell's linears, column by column.
struct SummaryColumns {
  std::vector<std::int64_t> layer, rows, cols, stored_bits, damping_attempts, fallback,
      dead_columns;
  std::vector<std::string> linear, code_hash;
  std::vector<double> loss, relative_output_error, relative_weight_error, damping, factor_s,
      solve_s;

  template <class Io, class Columns>
  static void fields(Io& io, Columns& c) {
    io.column("layer", c.layer);
    io.column("linear", c.linear);
    io.column("rows", c.rows);
    io.column("cols", c.cols);
    io.column("code_hash", c.code_hash);
    io.column("stored_bits", c.stored_bits);
    io.column("loss", c.loss);
    io.column("relative_output_error", c.relative_output_error);
    io.column("relative_weight_error", c.relative_weight_error);
    io.column("damping", c.damping);
    io.column("damping_attempts", c.damping_attempts);
    io.column("fallback", c.fallback);
    io.column("dead_columns", c.dead_columns);
    io.column("factor_s", c.factor_s);
    io.column("solve_s", c.solve_s);
  }

  // The same columns, each with the summary's field: visit(column, field).
  template <class Columns, class Summary, class Visit>
  static void zip(Columns& c, Summary& s, Visit&& visit) {
    visit(c.layer, s.layer);
    visit(c.linear, s.linear);
    visit(c.rows, s.rows);
    visit(c.cols, s.cols);
    visit(c.code_hash, s.code_hash);
    visit(c.stored_bits, s.stored_bits);
    visit(c.loss, s.diagnostics.loss);
    visit(c.relative_output_error, s.diagnostics.relative_output_error);
    visit(c.relative_weight_error, s.diagnostics.relative_weight_error);
    visit(c.damping, s.diagnostics.damping);
    visit(c.damping_attempts, s.diagnostics.damping_attempts);
    visit(c.fallback, s.diagnostics.fallback);
    visit(c.dead_columns, s.diagnostics.dead_columns);
    visit(c.factor_s, s.diagnostics.factor_s);
    visit(c.solve_s, s.diagnostics.solve_s);
  }
};

Node summaries_node(const std::vector<LinearSummary>& linears) {
  SummaryColumns columns;
  for (const LinearSummary& summary : linears)
    SummaryColumns::zip(columns, summary,
                        [](auto& column, const auto& field) { column.push_back(field); });
  Node node;
  Writer io{node};
  SummaryColumns::fields(io, columns);
  return node;
}

std::vector<LinearSummary> summaries_of(const Node& node, const std::string& where) {
  SummaryColumns columns;
  Loader io{node, where};
  SummaryColumns::fields(io, columns);
  std::vector<LinearSummary> linears(columns.layer.size());
  for (std::size_t i = 0; i < linears.size(); ++i)
    SummaryColumns::zip(columns, linears[i], [&](const auto& column, auto& field) {
      if (column.size() != linears.size()) throw Error(where + ": its columns differ in length");
      field = static_cast<std::remove_reference_t<decltype(field)>>(column[i]);
    });
  return linears;
}

}  // namespace

Node cell_node(const CellRecord& cell) {
  Node node = root_node("cell");
  Writer io{node};
  cell_fields(io, cell);
  io("status", std::string(cell.status == CellStatus::finished ? "finished" : "failed"));
  node.groups["recipe"] = recipe_node(cell.header.recipe);
  node.groups["linears"] = summaries_node(cell.linears);
  Node& metrics = node.groups["metrics"];
  for (std::size_t i = 0; i < cell.metrics.size(); ++i) {
    Writer metric{metrics.groups[numbered(i)]};
    metric_fields(metric, cell.metrics[i]);
    if (cell.metrics[i].compared()) comparison_fields(metric, cell.metrics[i]);
  }
  // Without question sets a cell is what it was before there were any.
  for (std::size_t i = 0; i < cell.tasks.size(); ++i)
    node.groups["tasks"].groups[numbered(i)] = task_node(cell.tasks[i]);
  return node;
}

CellRecord cell_of(const Node& node, const std::string& where) {
  CellRecord cell;
  Loader io{node, where};
  check_kind(io, "cell");
  cell_fields(io, cell);
  std::string status;
  io("status", status);
  if (status != "finished" && status != "failed")
    throw Error(fmt::format("{}: status is '{}', neither finished nor failed", where, status));
  cell.status = status == "finished" ? CellStatus::finished : CellStatus::failed;
  cell.header.recipe = recipe_of(io.group("recipe"), where + ": recipe");
  cell.linears = summaries_of(io.group("linears"), where + ": linears");
  for (const auto& [name, group] : io.group("metrics").groups) {
    Loader metric{group, where + ": metrics/" + name};
    metric_fields(metric, cell.metrics.emplace_back());
    if (group.datasets.contains("window_divergences"))
      comparison_fields(metric, cell.metrics.back());
  }
  if (const auto tasks = node.groups.find("tasks"); tasks != node.groups.end())
    for (const auto& [name, group] : tasks->second.groups)
      cell.tasks.push_back(task_of(group, where + ": tasks/" + name));
  return cell;
}

}  // namespace bitgrid::results
