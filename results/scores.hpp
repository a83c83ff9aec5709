#pragma once

#include <string>
#include <vector>

#include "core/evaluation/task_definition.hpp"
#include "results/store.hpp"

namespace bitgrid::results {

// `bitgrid scores`: the question sets of every finished cell as lm-evaluation-harness writes them.
struct ScoresRequest {
  std::string out;             // directory; made if need be
  std::string cells;           // comma-separated shell patterns on names; "": all
  bool log_documents = false;  // also a line per question
  // Where the rows are, for the questions' texts, and the sets that are not built in.
  std::string tasks_dir;
  std::vector<TaskDefinition> own_tasks;
};
struct ScoresWritten {
  std::vector<std::string> files;
  std::vector<std::string> remarks;  // one line each: cells left out, texts that are not there
};
// InputError if the sweep lists no question sets or a pattern matches no cell.
ScoresWritten write_scores(const Reader& reader, const ScoresRequest& request);

}  // namespace bitgrid::results
