#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

#include "core/evaluation/task.hpp"
#include "results/records.hpp"

namespace bitgrid::results {

// The files of lm-evaluation-harness, so that what reads its results reads ours. What is not known
// is left out.
//   DIR/<model>/results_<time>.json            one cell's accuracies
//   DIR/<model>/samples_<task>_<time>.jsonl    a line per question

// A cell is a model of its own: "Meta-Llama-3-8B-gptq-w4-g128".
std::string harness_model_name(const RunRecord& run, const CellRecord& cell);
std::string harness_folder(const std::string& model_name);  // with "__" for what paths cannot hold
std::string harness_time(double seconds);                   // UTC: "2026-11-24T08-30-00.000000"
std::string harness_task_name(const TaskRecord& task, std::int32_t subset);  // "mmlu_astronomy"

// The run's question sets of a finished cell.
std::vector<const TaskRecord*> listed_tasks(const RunRecord& run, const CellRecord& cell);
std::string harness_results(const RunRecord& run, const CellRecord& cell);

// The lines of one subset, its documents in the order in which they were asked. rows: the task read
// again, for texts and rows; null: without them. The record has no fault.
void harness_samples(std::ostream& out, const TaskRecord& task, std::int32_t subset,
                     const Task* rows);

}  // namespace bitgrid::results
