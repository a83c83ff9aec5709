#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/model/weights.hpp"
#include "sweeps/hand_over.hpp"

namespace bitgrid {

// What the waves of a cell's question sets have left behind in this run, at the last stage.
struct CellSoFar {
  // Of sets that are asked in parts and not whole yet, by index into Inputs::tasks.
  std::map<std::int64_t, std::vector<RequestScore>> scores;
  // On replica 0.
  results::Seconds seconds;
  double wall_s = 0, finished_s = 0;
  std::int64_t peak_memory_bytes = 0;
  std::vector<std::string> hosts, shared_with;
};

// At the last stage, collective over its replicas: measures the cell's evaluation sets and stores
// its record, with what earlier waves have found. Throws AgreedFailure. Returns what the log says
// of it (on replica 0).
//   reference: by evaluation set, the unquantized model's output of the last layer on this rank's
//   windows; empty, as a whole or for a set, where there is none to compare with
struct CellSummary {
  std::string text;
  double seconds = 0;
};
CellSummary measure_and_record(RankContext& rank, const CellJob& job, const OutputWeights& output,
                               const std::vector<Matrix<float>>& reference, CellStates& states,
                               CellSoFar& so_far);

// The record of a cell that could not be computed; collective likewise.
void record_failure(RankContext& rank, const CellJob& job, CellStates& states, CellSoFar& so_far);

}  // namespace bitgrid
