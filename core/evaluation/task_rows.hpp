#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/evaluation/task_definition.hpp"
#include "core/evaluation/task_template.hpp"

namespace bitgrid {

// The rows of one file, cut down to what the task's templates use.
struct TaskRow {
  std::int32_t line = 0;           // of the file, from 1
  std::uint64_t identity = 0;      // equal for rows that are equal in all their fields
  std::vector<FieldValue> values;  // by slot; {subset} is filled in, {option} is not
};
struct TaskRows {
  std::string path;  // as opened
  std::vector<TaskRow> rows;
  std::string place_of(std::size_t row) const;  // "FILE:LINE"
};

// Where the rows of a subset are: the first of the files that exists, or NAME.gz.
struct TaskPlace {
  std::string subset;
  const TaskFile* file = nullptr;
  std::string path;    // under the directory of the tasks, as found
  std::string labels;  // "" if there are none
};
// The subsets that the files of the task have under tasks_dir, in alphabetical order; one named as
// the task where its files are not by subset. Throws InputError naming what was looked for.
std::vector<TaskPlace> find_subsets(const TaskDefinition& task, const std::string& tasks_dir);
// The file of examples for a subset; file is null where there is none.
TaskPlace find_shots(const TaskDefinition& task, const std::string& tasks_dir,
                     const std::string& subset);

// Which names of the row become which slots, found once per task.
class RowReader {
 public:
  // slots: what the task's templates use.
  RowReader(const TaskDefinition& task, const FieldSlots& slots);
  std::size_t slot_count() const { return slot_count_; }
  // Throws InputError "FILE:LINE: …" for malformed rows and for missing fields.
  TaskRows read(const TaskPlace& place) const;

 private:
  struct Wanted {
    std::int32_t slot = 0;
    std::vector<std::string> paths;
  };
  void read_json(const TaskPlace& place, TaskRows& out) const;
  void read_csv(const TaskPlace& place, TaskRows& out) const;
  std::string needed_for_;
  std::size_t slot_count_;
  std::vector<Wanted> wanted_;
};

}  // namespace bitgrid
