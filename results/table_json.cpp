#include "results/table_json.hpp"

#include <cmath>
#include <nlohmann/json.hpp>

#include "results/task_columns.hpp"

namespace bitgrid::results {
namespace {

using Json = nlohmann::ordered_json;

// Against the unquantized model; null where nothing was compared.
Json comparison_json(const MetricRecord& metric) {
  if (!metric.compared()) return nullptr;
  const Comparison& c = metric.comparison;
  return {{"divergence", json_number(c.divergence)},
          {"divergence_error", json_number(c.divergence_error)},
          {"agreement", json_number(c.agreement)},
          {"agreement_error", json_number(c.agreement_error)}};
}

Json metric_json(const MetricRecord& metric) {
  return {{"set", metric.set},
          {"protocol", metric.protocol},
          {"length", metric.length},
          {"bos", metric.bos},
          {"text_fingerprint", metric.text_fingerprint},
          {"ids_fingerprint", metric.ids_fingerprint},
          {"perplexity", json_number(metric.value.perplexity)},
          {"perplexity_error", json_number(metric.value.perplexity_error)},
          {"cross_entropy", json_number(metric.value.cross_entropy)},
          {"cross_entropy_error", json_number(metric.value.cross_entropy_error)},
          {"windows", metric.value.windows},
          {"tokens", metric.value.tokens},
          {"against_baseline", comparison_json(metric)}};
}

// By scope: {"piqa": {"documents": 120, "acc": {"value": …, "error": …}}}.
Json task_metrics_json(const TaskRecord& task) {
  Json scopes = Json::object();
  for (const TaskMetric& metric : task.metrics) {
    Json& scope = scopes[metric.scope];
    scope["documents"] = metric.documents;
    scope[metric.metric] = {{"value", json_number(metric.value)},
                            {"error", json_number(metric.error)}};
  }
  return scopes;
}

Json difference_json(const PairedDifference& difference) {
  return {{"difference", json_number(difference.difference)},
          {"error", json_number(difference.error)},
          {"gained", difference.gained},
          {"lost", difference.lost},
          {"p_value", json_number(difference.p_value)}};
}

// Question by question against the unquantized model; null where it was not asked the same ones.
Json against_baseline(const TaskRecord& task, const CellRecord* baseline) {
  if (baseline == nullptr) return nullptr;
  for (const TaskRecord& other : baseline->tasks) {
    if (other.fingerprint != task.fingerprint || other.outcomes.empty() ||
        other.outcomes.size() != task.outcomes.size())
      continue;
    Json out = {{"cell", baseline->header.name}, {"documents", task.outcomes.size()}};
    for (const char* metric : {"acc", "acc_norm"})
      if (find_task_metric(task, task.task, metric) != nullptr)
        out[metric] = difference_json(paired_difference(task.outcomes, other.outcomes,
                                                        std::string_view(metric) == "acc_norm"));
    return out;
  }
  return nullptr;
}

Json task_json(const TaskRecord& task, const CellRecord* baseline) {
  return {{"task", task.task},
          {"version", task.version},
          {"profile", task.profile},
          {"shots", task.shots},
          {"limit", task.limit},
          {"max_length", task.max_length},
          {"fingerprint", task.fingerprint},
          {"digests", digests_json(task.digests)},
          {"documents", task.documents.size()},
          {"metrics", task_metrics_json(task)},
          {"against_baseline", against_baseline(task, baseline)}};
}

Json record_json(const CellRecord& record, const CellRecord* baseline) {
  const CellHeader& header = record.header;
  Json metrics = Json::array();
  for (const MetricRecord& metric : record.metrics) metrics.push_back(metric_json(metric));
  Json tasks = Json::array();
  for (const TaskRecord& task : record.tasks)
    tasks.push_back(task_json(task, &record == baseline ? nullptr : baseline));
  return {{"recipe", recipe_json(header.recipe)},
          {"calibration", header.calibration},
          {"calibration_fingerprint", header.calibration_fingerprint},
          {"shards", header.shards},
          {"seed", header.seed},
          {"version", header.version},
          {"blas", header.blas},
          {"failure", record.failure},
          {"bits_per_weight", json_number(record.bits_per_weight)},
          {"metrics", metrics},
          {"tasks", tasks},
          {"tensors_kept", record.tensors_kept},
          {"wall_s", json_number(record.wall_s)},
          {"seconds", record.seconds},
          {"peak_memory_bytes", record.peak_memory_bytes},
          {"hosts", record.hosts},
          {"finished_s", json_number(record.finished_s)}};
}

}  // namespace

Json json_number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

Json recipe_json(const Recipe& recipe) {
  Json options = Json::object();
  for (const auto& [key, value] : recipe.options)
    std::visit([&, &name = key](const auto& v) { options[name] = v; }, value);
  return {{"chain", recipe.chain},
          {"bits", recipe.bits},
          {"group", recipe.group},
          {"options", options}};
}

Json digests_json(const RequestDigests& digests) {
  return {{"requests", digests.requests},
          {"context_tokens", digests.context_tokens},
          {"continuation_tokens", digests.continuation_tokens},
          {"longest", digests.longest},
          {"text_digest", digests.json},
          {"token_digest", digests.tokens},
          {"token_digest_with_bos", digests.tokens_with_bos}};
}

std::string table_json(const Rows& table) {
  const RunRecord& run = table.run;
  const CellRecord* baseline = baseline_of(table);
  Json cells = Json::array();
  for (const Row& row : table.rows) {
    Json cell = {{"name", row.entry.name},
                 {"key", row.entry.key},
                 {"status", row_state_name(row.state)},
                 {"bits", row.bits},
                 {"method", row.method},
                 {"options", row.options},
                 {"group", row.group},
                 {"layers_stored", row.entry.layers.size()}};
    if (row.record) cell.update(record_json(*row.record, baseline));
    if (!row.fault.empty()) cell["fault"] = row.fault;
    cells.push_back(std::move(cell));
  }
  const Json all = {{"sweep", run.name},
                    {"model", run.model},
                    {"model_fingerprint", run.model_fingerprint},
                    {"version", run.version},
                    {"device", run.device},
                    {"ranks", run.ranks},
                    {"stages", run.stages},
                    {"replicas", run.replicas},
                    {"threads", run.threads},
                    {"started_s", run.started_s},
                    {"finished_s", run.finished_s},
                    {"evaluation_length", run.evaluation_length},
                    {"sets", table.run.sets},
                    {"tasks", run.tasks},
                    {"task_fingerprints", run.task_fingerprints},
                    {"cells", cells}};
  return all.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace bitgrid::results
