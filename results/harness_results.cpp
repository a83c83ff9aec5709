#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "results/harness.hpp"
#include "results/rows.hpp"
#include "results/table_json.hpp"

namespace bitgrid::results {
namespace {

using Json = nlohmann::ordered_json;

// What has a name of its own in the harness: a set of one file, a subject, or a group of these.
struct Entry {
  const TaskRecord* record;
  std::string name, alias;
  std::int64_t depth = 0;  // of groups above it
  bool is_group = false;
  std::vector<std::string> members;  // of a group
};

bool has_subsets(const TaskRecord& task) {
  return task.subsets.size() != 1 || task.subsets[0] != task.task;
}

// A group of subjects, and the subjects below it.
void add_group(std::vector<Entry>& out, Entry group, const std::vector<std::string>& subjects) {
  std::vector<Entry> below;
  for (const std::string& subject : subjects) {
    group.members.push_back(group.record->task + "_" + subject);
    below.push_back({group.record, group.members.back(), subject, group.depth + 1, false, {}});
  }
  out.push_back(std::move(group));
  std::move(below.begin(), below.end(), std::back_inserter(out));
}

// Subjects that belong to no group stand under the set itself.
std::vector<Entry> entries_of(const TaskRecord& task) {
  Entry whole{&task, task.task, task.task, 0, has_subsets(task), {}};
  if (!whole.is_group) return {whole};
  std::vector<Entry> groups;
  std::vector<std::string> direct = task.subsets;
  if (task.task == "mmlu") {
    for (const char* name : {"humanities", "other", "social_sciences", "stem"}) {
      std::vector<std::string> subjects;
      const auto belongs = [&](const std::string& s) { return mmlu_group(s) == name; };
      std::copy_if(direct.begin(), direct.end(), std::back_inserter(subjects), belongs);
      std::erase_if(direct, belongs);
      if (subjects.empty()) continue;
      std::string alias = name;
      std::replace(alias.begin(), alias.end(), '_', ' ');
      whole.members.push_back(fmt::format("mmlu_{}", name));
      add_group(groups, {&task, whole.members.back(), alias, 1, true, {}}, subjects);
    }
  }
  std::vector<Entry> out;
  add_group(out, std::move(whole), direct);
  out.insert(out.begin() + 1, groups.begin(), groups.end());
  return out;
}

std::vector<const TaskMetric*> metrics_of(const Entry& entry) {
  std::vector<const TaskMetric*> found;
  for (const char* metric : {"acc", "acc_norm"})
    if (const TaskMetric* m = find_task_metric(*entry.record, entry.name, metric))
      found.push_back(m);
  return found;
}

Json result_json(const Entry& entry) {
  const std::string indent = entry.depth > 0 ? std::string(entry.depth, ' ') + "- " : "";
  Json out = {{"name", entry.name}, {"alias", indent + entry.alias}};
  for (const TaskMetric* metric : metrics_of(entry)) {
    out["sample_len"] = metric->documents;
    if (entry.is_group) out["sample_count"][metric->metric + ",none"] = metric->documents;
    out[metric->metric + ",none"] = json_number(metric->value);
    out[metric->metric + "_stderr,none"] =
        std::isfinite(metric->error) ? Json(metric->error) : Json("N/A");
  }
  return out;
}

// "1.0" as the number that it is in the harness.
Json version_json(const Entry& entry) {
  const std::string& text = entry.record->version;
  // MMLU's subjects have a version apart from the group's.
  if (entry.record->task == "mmlu" && text == "2" && !entry.is_group) return 1.0;
  std::int64_t whole = 0;
  double number = 0;
  const char* end = text.data() + text.size();
  if (const auto [at, error] = std::from_chars(text.data(), end, whole);
      error == std::errc() && at == end)
    return whole;
  if (const auto [at, error] = std::from_chars(text.data(), end, number);
      error == std::errc() && at == end)
    return number;
  return text;
}

Json config_of(const Entry& entry) {
  Json metrics = Json::array();
  for (const TaskMetric* metric : metrics_of(entry))
    metrics.push_back(
        {{"metric", metric->metric}, {"aggregation", "mean"}, {"higher_is_better", true}});
  return {{"task", entry.name},
          {"output_type", "multiple_choice"},
          {"num_fewshot", entry.record->shots},
          {"metric_list", metrics},
          {"metadata", {{"version", version_json(entry)}}}};
}

// A subset of fewer rows than the limit is whole; of others the number of all rows is not known.
Json sample_numbers(const Entry& entry) {
  const TaskMetric* acc = find_task_metric(*entry.record, entry.name, "acc");
  const std::int64_t effective = acc == nullptr ? 0 : acc->documents;
  Json out = Json::object();
  if (entry.record->limit == 0 || effective < entry.record->limit) out["original"] = effective;
  out["effective"] = effective;
  return out;
}

// What all sets have in common; null where they differ.
Json common(const std::vector<const TaskRecord*>& tasks, auto&& value_of) {
  std::set<Json> values;
  for (const TaskRecord* task : tasks) values.insert(value_of(*task));
  return values.size() == 1 ? *values.begin() : Json();
}

Json adds_bos(const TaskRecord& task) {
  for (const EvaluationProfile& profile : evaluation_profiles())
    if (profile.name == task.profile) return profile.add_bos;
  return nullptr;
}

Json project_task(const TaskRecord& task) {
  Json macro = Json::object();
  for (const TaskMetric& metric : task.metrics)
    if (metric.metric.ends_with("_macro"))
      macro[metric.scope][metric.metric] = {{"value", json_number(metric.value)},
                                            {"error", json_number(metric.error)}};
  Json out = {{"version", task.version},
              {"profile", task.profile},
              {"shots", task.shots},
              {"limit", task.limit},
              {"max_length", task.max_length},
              {"fingerprint", task.fingerprint},
              {"digests", digests_json(task.digests)}};
  if (!macro.empty()) out["macro"] = macro;
  return out;
}

Json project_json(const RunRecord& run, const CellRecord& cell,
                  const std::vector<const TaskRecord*>& tasks) {
  const CellHeader& header = cell.header;
  Json out = {{"name", "bitgrid"},
              {"version", header.version},
              {"sweep", run.name},
              {"cell", header.name},
              {"key", header.key},
              {"recipe", recipe_json(header.recipe)},
              {"bits_per_weight", json_number(cell.bits_per_weight)},
              {"model_fingerprint", header.model_fingerprint},
              {"calibration", header.calibration},
              {"calibration_fingerprint", header.calibration_fingerprint},
              {"seed", header.seed}};
  const Json profile = common(tasks, [](const TaskRecord& t) { return Json(t.profile); });
  const Json bos = common(tasks, adds_bos);
  if (!profile.is_null()) out["profile"] = profile;
  if (!bos.is_null()) out["add_bos"] = bos;
  for (const TaskRecord* task : tasks) out["tasks"][task->task] = project_task(*task);
  return out;
}

Json config_json(const RunRecord& run, const std::vector<const TaskRecord*>& tasks) {
  Json out = {{"model", "bitgrid"},
              {"model_args", {{"pretrained", run.model}}},
              {"device", run.device},
              {"fewshot_seed", 1234}};
  const Json limit = common(tasks, [](const TaskRecord& t) { return Json(t.limit); });
  if (!limit.is_null()) out["limit"] = limit == 0 ? Json(nullptr) : limit;
  return out;
}

void add_entry(Json& all, const Entry& entry) {
  all["results"][entry.name] = result_json(entry);
  if (entry.is_group) all["groups"][entry.name] = result_json(entry);
  all["group_subtasks"][entry.name] = entry.members;
  all["versions"][entry.name] = version_json(entry);
  Json better = Json::object();
  for (const TaskMetric* metric : metrics_of(entry)) better[metric->metric] = true;
  all["higher_is_better"][entry.name] = better;
  if (entry.is_group) return;
  all["configs"][entry.name] = config_of(entry);
  all["n-shot"][entry.name] = entry.record->shots;
  all["n-samples"][entry.name] = sample_numbers(entry);
}

}  // namespace

std::string harness_model_name(const RunRecord& run, const CellRecord& cell) {
  std::filesystem::path model(run.model);
  if (model.filename().empty()) model = model.parent_path();
  return model.filename().string() + "-" + cell.header.name;
}

std::string harness_folder(const std::string& model_name) {
  std::string out;
  bool replacing = false;
  for (const char c : model_name) {
    const bool bad = std::string_view("\"<>:/|\\?*[]").find(c) != std::string_view::npos;
    if (!bad)
      out += c;
    else if (!replacing)
      out += "__";
    replacing = bad;
  }
  return out;
}

std::string harness_time(double seconds) {
  const auto micros = static_cast<std::int64_t>(std::llround(seconds * 1e6));
  return fmt::format("{:%Y-%m-%dT%H-%M-%S}.{:06}",
                     fmt::gmtime(static_cast<std::time_t>(micros / 1000000)), micros % 1000000);
}

std::string harness_task_name(const TaskRecord& task, std::int32_t subset) {
  return has_subsets(task) ? task.task + "_" + task.subsets[static_cast<std::size_t>(subset)]
                           : task.task;
}

std::vector<const TaskRecord*> listed_tasks(const RunRecord& run, const CellRecord& cell) {
  std::vector<const TaskRecord*> tasks;
  for (std::size_t task = 0; task < run.tasks.size(); ++task)
    if (const TaskRecord* found = find_task(cell, run, task)) tasks.push_back(found);
  return tasks;
}

std::string harness_results(const RunRecord& run, const CellRecord& cell) {
  const std::vector<const TaskRecord*> tasks = listed_tasks(run, cell);
  Json all = {{"results", Json::object()}};  // in the harness's order
  for (const TaskRecord* task : tasks)
    if (has_subsets(*task)) all["groups"] = Json::object();
  for (const char* key :
       {"group_subtasks", "configs", "versions", "n-shot", "higher_is_better", "n-samples"})
    all[key] = Json::object();
  for (const TaskRecord* task : tasks)
    for (const Entry& entry : entries_of(*task)) add_entry(all, entry);
  all["config"] = config_json(run, tasks);
  all["date"] = json_number(cell.finished_s);
  const Json max_length = common(tasks, [](const TaskRecord& t) { return Json(t.max_length); });
  if (!max_length.is_null()) all["max_length"] = max_length;
  all["model_name"] = harness_model_name(run, cell);
  all["model_name_sanitized"] = harness_folder(harness_model_name(run, cell));
  all["project"] = project_json(run, cell, tasks);
  return all.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace bitgrid::results
