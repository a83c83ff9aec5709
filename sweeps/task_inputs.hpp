#pragma once

#include <string>
#include <vector>

#include "core/checkpoint/checkpoint.hpp"
#include "core/evaluation/request_packs.hpp"
#include "dist/comm.hpp"
#include "results/records.hpp"
#include "sweeps/sweep.hpp"

namespace bitgrid {

// One question set of a sweep, as every rank knows it.
struct TaskInput {
  TaskDefinition definition;
  results::TaskRecord header;  // without scores, outcomes and metrics
  TokenRequests requests;
  std::vector<RequestPack> packs;
};

// Reads rows, builds requests and tokenizes. A set whose rows cannot be used is left out and told
// in `faults`, one line each: it fails alone. Throws InputError for a definition that is not one,
// and where a name is given to two sets.
std::vector<TaskInput> read_tasks(const Sweep& sweep, const Tokenizer& tokenizer,
                                  const LlamaConfig& config, std::vector<std::string>& faults);

// Collective: what rank 0 read, on every rank. Packs are made anew, which gives the same.
void broadcast_tasks(const dist::Comm& world, const Sweep& sweep, std::vector<TaskInput>& tasks,
                     std::vector<std::string>& faults);

// Rows, answers and texts of a set again, for scoring: whoever records a cell needs them. Throws
// Error if the files are not what they were.
Task reopen_task(const Sweep& sweep, const TaskInput& input);

// Whether a recipe's requests go alone: no sequence may share rows with another where activation
// grids are fitted to a whole sequence.
bool asks_alone(const Recipe& recipe);
std::vector<RequestPack> lone_packs(const TokenRequests& requests);

}  // namespace bitgrid
