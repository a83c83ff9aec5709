#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "core/evaluation/task.hpp"
#include "core/evaluation/task_metrics.hpp"
#include "core/evaluation/token_requests.hpp"
#include "tests/core/text/text_fixtures.hpp"

namespace bitgrid::test {

inline const std::string kReference = std::string(BITGRID_SOURCE_DIR) + "/tests/data/evaluation/";
inline const std::string kDemoTasks = kDemo + "/data/tasks";

// Rows of a file without quotes, the names of the columns left out.
inline std::vector<std::vector<std::string>> csv_rows(const std::string& path) {
  std::ifstream in(path);
  std::vector<std::vector<std::string>> rows;
  std::string line;
  std::getline(in, line);
  while (std::getline(in, line)) {
    std::istringstream cells(line);
    std::vector<std::string>& row = rows.emplace_back();
    for (std::string cell; std::getline(cells, cell, ',');) row.push_back(cell);
  }
  return rows;
}

inline Task read_task(const std::string& name, const std::string& dir,
                      const TaskSettings& settings = {}) {
  return Task::read(find_task(name), dir, settings);
}

// The questions of a one-file set as rows in memory.
inline Task task_of_rows(const Folder& folder, const std::string& name, std::string_view rows,
                         const TaskSettings& settings = {}) {
  folder.write(name + ".jsonl", rows);
  return read_task(name, folder.path(), settings);
}

}  // namespace bitgrid::test
