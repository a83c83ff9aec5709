#include "results/task_columns.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace bitgrid::results {
namespace {

bool has_norm(const Rows& table, std::size_t task) {
  return std::any_of(table.rows.begin(), table.rows.end(), [&](const Row& row) {
    const TaskRecord* record = row.record ? find_task(*row.record, table.run, task) : nullptr;
    return record != nullptr && find_task_metric(*record, record->task, "acc_norm") != nullptr;
  });
}

bool of_one_subset(const TaskRecord& task, const TaskMetric& metric) {
  return std::any_of(task.subsets.begin(), task.subsets.end(), [&](const std::string& subset) {
    return metric.scope == task.task + "_" + subset;
  });
}

bool counts_in_mean(const std::string& task) { return task != "mmlu"; }

}  // namespace

const TaskMetric* shown_metric(const CellRecord& record, const RunRecord& run, std::size_t task,
                               TableMetric metric) {
  const TaskRecord* found = find_task(record, run, task);
  if (found == nullptr) return nullptr;
  const TaskMetric* norm =
      metric == TableMetric::acc_norm ? find_task_metric(*found, found->task, "acc_norm") : nullptr;
  return norm != nullptr ? norm : find_task_metric(*found, found->task, "acc");
}

bool has_mean(const RunRecord& run) {
  return std::count_if(run.tasks.begin(), run.tasks.end(), counts_in_mean) >= 2;
}

std::optional<double> task_mean(const CellRecord& record, const RunRecord& run,
                                TableMetric metric) {
  if (!has_mean(run)) return std::nullopt;
  double sum = 0, count = 0;
  for (std::size_t task = 0; task < run.tasks.size(); ++task) {
    if (!counts_in_mean(run.tasks[task])) continue;
    const TaskMetric* found = shown_metric(record, run, task, metric);
    if (found == nullptr) return std::nullopt;
    sum += found->value;
    ++count;
  }
  return sum / count;
}

std::vector<std::string> task_heads(const Rows& table, TableMetric metric) {
  std::vector<std::string> heads;
  for (std::size_t task = 0; task < table.run.tasks.size(); ++task) {
    const bool norm = metric == TableMetric::acc_norm && has_norm(table, task);
    heads.push_back(table.run.tasks[task] + (norm ? " (norm)" : ""));
  }
  if (has_mean(table.run)) heads.push_back("mean");
  return heads;
}

std::vector<std::string> task_texts(const CellRecord& record, const RunRecord& run,
                                    TableMetric metric) {
  std::vector<std::string> texts;
  for (std::size_t task = 0; task < run.tasks.size(); ++task) {
    const TaskMetric* found = shown_metric(record, run, task, metric);
    texts.push_back(found == nullptr ? "–" : fmt::format("{:.2f}", 100 * found->value));
  }
  if (!has_mean(run)) return texts;
  const std::optional<double> mean = task_mean(record, run, metric);
  texts.push_back(mean ? fmt::format("{:.2f}", 100 * *mean) : "–");
  return texts;
}

std::vector<TaskColumn> task_columns(const Rows& table) {
  std::vector<TaskColumn> columns;
  for (std::size_t task = 0; task < table.run.tasks.size(); ++task) {
    const std::string& name = table.run.tasks[task];
    columns.push_back({task, name, "acc"});
    for (const Row& row : table.rows) {
      const TaskRecord* record = row.record ? find_task(*row.record, table.run, task) : nullptr;
      if (record == nullptr) continue;
      for (const TaskMetric& metric : record->metrics)
        if (!(metric.scope == name && metric.metric == "acc") && !of_one_subset(*record, metric))
          columns.push_back({task, metric.scope, metric.metric});
      break;  // equal fingerprints, equal subsets
    }
  }
  return columns;
}

const CellRecord* baseline_of(const Rows& table) {
  for (const Row& row : table.rows)
    if (row.state == Row::State::finished && !row.quantizes) return &*row.record;
  return nullptr;
}

}  // namespace bitgrid::results
