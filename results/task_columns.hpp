#pragma once

#include <optional>
#include <string>
#include <vector>

#include "results/rows.hpp"
#include "results/tables.hpp"

namespace bitgrid::results {

// What a table shows of the run's question sets: one number per set, and their mean.

// The number of one set: accuracy, or acc_norm where that is asked for and the set has it. Null:
// not asked in this cell.
const TaskMetric* shown_metric(const CellRecord& record, const RunRecord& run, std::size_t task,
                               TableMetric metric);

// Over all listed sets but mmlu, which papers keep apart; nothing if there are fewer than two of
// them or one was not asked.
bool has_mean(const RunRecord& run);
std::optional<double> task_mean(const CellRecord& record, const RunRecord& run, TableMetric metric);

// Columns as people read them: percent with two decimals. "piqa", "piqa (norm)", "mean".
std::vector<std::string> task_heads(const Rows& table, TableMetric metric);
std::vector<std::string> task_texts(const CellRecord& record, const RunRecord& run,
                                    TableMetric metric);

// Columns as programs read them: all metrics of a set as a whole and of MMLU's groups, each with
// its standard error, not those of single subjects.
struct TaskColumn {
  std::size_t task;  // index into the run's
  std::string scope, metric;
};
std::vector<TaskColumn> task_columns(const Rows& table);

// The finished cell of the unquantized model; null if there is none.
const CellRecord* baseline_of(const Rows& table);

}  // namespace bitgrid::results
