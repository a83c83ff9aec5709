#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/evaluation/task.hpp"
#include "core/evaluation/task_rows.hpp"

namespace bitgrid {

// A definition with its templates parsed: what turns one row into texts.
class RowTexts {
 public:
  explicit RowTexts(const TaskDefinition& task);  // task has passed check_task
  const FieldSlots& slots() const { return slots_; }

  void derive(TaskRow& row) const;
  std::vector<std::string> options(const TaskRow& row) const;
  // Index of the right one of option_count options. Throws InputError where the answer names none.
  std::int32_t gold(const TaskRow& row, std::size_t option_count) const;

  std::string description(const std::string& subset) const;
  // Of the row alone; one context, or one per option.
  DocumentTexts question(const TaskRow& row) const;
  // The row as an example, right answer and separators included.
  std::string example(const TaskRow& row) const;

 private:
  const TaskDefinition& task_;
  FieldSlots slots_;
  TaskTemplate description_, context_, continuation_, answer_;
  std::vector<TaskTemplate> derived_;
  std::vector<std::vector<TextFilter>> derived_filters_;
  std::vector<TextFilter> option_filters_;
  std::vector<std::int32_t> derived_slots_;
  std::int32_t options_slot_ = -1, labels_slot_ = -1;
  bool context_per_option_ = false;
};

// The examples of every document of a subset, by row of the pool, as the harness draws them: a
// generator seeded 1234 that goes through the documents in order. own: the documents' rows. Throws
// InputError "pool_path: …" if there are too few.
std::vector<std::vector<std::int32_t>> draw_shots(const TaskRows& pool,
                                                  const std::vector<const TaskRow*>& own,
                                                  std::int64_t shots, bool without_own);

}  // namespace bitgrid
