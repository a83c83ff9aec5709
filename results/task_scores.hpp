#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "results/records.hpp"

namespace bitgrid::results {

// What follows from a stored question set without its rows. The record must be consistent in its
// lengths: a fault of task_length_fault is none.

// Where lists and indices of a record do not fit together, as one line; "" if they do.
std::string task_length_fault(const TaskRecord& task);

// Where each document's scores begin.
std::vector<std::size_t> first_scores(const TaskRecord& task);

// Whether the requests of a document were made from its last option to its first: a matter of the
// set under profile study; of a set of the user's own the outcomes tell.
bool asked_in_reverse(const TaskRecord& task);

// The scores of one document by option.
std::vector<RequestScore> scores_by_option(const TaskRecord& task, std::size_t first_score,
                                           std::int32_t options, bool reversed);

// Subset indices that a metric's scope may stand for; a subject of MMLU may be called as a group.
std::vector<std::vector<std::int32_t>> scope_members(const TaskRecord& task,
                                                     const std::string& scope);

// Everything that can be wrong with a record, one line each: lengths, outcomes that do not follow
// from the scores, metrics that do not follow from the outcomes.
std::vector<std::string> task_faults(const TaskRecord& task);

}  // namespace bitgrid::results
