#include <fmt/format.h>

#include "kernels/error.hpp"
#include "results/fields.hpp"
#include "results/layout.hpp"

namespace bitgrid::results {
namespace {

template <class Io, class Counters>
void counters_fields(Io& io, Counters& c) {
  io("rank", c.rank);
  io("stage", c.stage);
  io("replica", c.replica);
  io("host", c.host);
  io("weight_bytes_read", c.weight_bytes_read);
  io("peak_memory_bytes", c.peak_memory_bytes);
  io.optional("requests_scored", c.requests_scored);
  io.column("layers_read", c.layers_read);
  io.column("calibration_windows", c.calibration_windows);
  io.column("evaluation_windows", c.evaluation_windows);
  io.column("rows_solved", c.rows_solved);
  io.column("layers_quantized", c.layers_quantized);
  io.column("layers_replayed", c.layers_replayed);
  io.seconds(c.seconds);
}

template <class Io, class Run>
void run_fields(Io& io, Run& r) {
  io("name", r.name);
  io("model", r.model);
  io("model_fingerprint", r.model_fingerprint);
  io("layer_count", r.layer_count);
  io("sweep_text", r.sweep_text);
  io("version", r.version);
  io("blas", r.blas);
  io("device", r.device);
  io("ranks", r.ranks);
  io("stages", r.stages);
  io("replicas", r.replicas);
  io("threads", r.threads);
  io("evaluation_length", r.evaluation_length);
  io("started_s", r.started_s);
  io("finished_s", r.finished_s);
  io.column("cell_names", r.cell_names);
  io.column("cell_keys", r.cell_keys);
  io.column("cell_predicted_s", r.cell_predicted_s);
  io.column("sets", r.sets);
  io.optional_column("set_fingerprints", r.set_fingerprints);
  io.optional_column("tasks", r.tasks);
  io.optional_column("task_fingerprints", r.task_fingerprints);
  io.optional_column("compared_with", r.compared_with);
}

}  // namespace

Node run_node(const RunRecord& run) {
  Node node = root_node("run");
  Writer io{node};
  run_fields(io, run);
  Node& ranks = node.groups["ranks"];
  for (std::size_t i = 0; i < run.counters.size(); ++i) {
    Writer rank{ranks.groups[numbered(i)]};
    counters_fields(rank, run.counters[i]);
  }
  return node;
}

RunRecord run_of(const Node& node, const std::string& where) {
  RunRecord run;
  Loader io{node, where};
  check_kind(io, "run");
  run_fields(io, run);
  if (run.cell_keys.size() != run.cell_names.size())
    throw Error(where + ": cell_names and cell_keys differ in length");
  if (run.compared_with.size() > 1) throw Error(where + ": compared_with names more than one cell");
  if (run.task_fingerprints.size() != run.tasks.size())
    throw Error(where + ": tasks and task_fingerprints differ in length");
  for (const auto& [name, group] : io.group("ranks").groups) {
    Loader rank{group, where + ": ranks/" + name};
    counters_fields(rank, run.counters.emplace_back());
  }
  return run;
}

}  // namespace bitgrid::results
