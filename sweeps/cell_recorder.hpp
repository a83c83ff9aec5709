#pragma once

#include <string>

#include "core/model/weights.hpp"
#include "sweeps/hand_over.hpp"

namespace bitgrid {

// At the last stage, collective over its replicas: measures the cell's evaluation sets and stores
// its record. Throws AgreedFailure. Returns what the log says of it (on replica 0).
struct CellSummary {
  std::string text;
  double seconds = 0;
};
CellSummary measure_and_record(RankContext& rank, const CellJob& job, const OutputWeights& output,
                               CellStates& states, const std::vector<std::string>& shared_with);

// The record of a cell that could not be computed; collective likewise.
void record_failure(RankContext& rank, const CellJob& job, CellStates& states);

}  // namespace bitgrid
