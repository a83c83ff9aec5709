#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "results/records.hpp"

namespace bitgrid::results {

// What differs between the same question set in two cells, bit for bit: one line for each of its
// lists, with the first document in which it does. Of which requests these are (profile, shots,
// digests) is not compared here.
std::vector<std::string> task_differences(const TaskRecord& a, const TaskRecord& b);

// The same set in two cells: of equal fingerprint, or else of equal name.
struct TaskPair {
  std::size_t first, second;  // indices into the lists; kOnlyOne: the other side's alone
};
constexpr std::size_t kOnlyOne = static_cast<std::size_t>(-1);
std::vector<TaskPair> pair_tasks(const std::vector<TaskRecord>& a,
                                 const std::vector<TaskRecord>& b);

}  // namespace bitgrid::results
