#pragma once

#include <string>

#include "core/model/weights.hpp"
#include "sweeps/hand_over.hpp"

namespace bitgrid {

// At the last stage, collective over its replicas: measures the cell's evaluation sets and stores
// its record. Throws AgreedFailure. Returns what the log says of it (on replica 0).
//   reference: by evaluation set, the unquantized model's output of the last layer on this rank's
//   windows; empty, as a whole or for a set, where there is none to compare with
struct CellSummary {
  std::string text;
  double seconds = 0;
};
CellSummary measure_and_record(RankContext& rank, const CellJob& job, const OutputWeights& output,
                               const std::vector<Matrix<float>>& reference, CellStates& states,
                               const std::vector<std::string>& shared_with);

// The record of a cell that could not be computed; collective likewise.
void record_failure(RankContext& rank, const CellJob& job, CellStates& states);

}  // namespace bitgrid
