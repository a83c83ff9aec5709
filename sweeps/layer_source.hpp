#pragma once

#include <cstdint>

#include "core/methods/quantized_linear.hpp"
#include "core/model/weights.hpp"
#include "sweeps/rank_context.hpp"

namespace bitgrid {

// Layers and head, read by one rank of a stage and sent to its other replicas, so that a file is
// read once per stage. All calls are collective over the stage's replicas. A bad file or weight
// ends the run (RunError on every replica).

// The layer as the checkpoint has it. Read by replica layer mod D.
LayerWeights fetch_layer(RankContext& rank, std::int64_t layer);
// The layer with the weights that a finished (cell, layer) stands for; norms from the checkpoint.
LayerWeights fetch_stored_layer(RankContext& rank, const results::CellHeader& cell,
                                std::int64_t layer);
OutputWeights fetch_output(RankContext& rank);

// What every replica of a stage throws when one of them failed: all leave the same call, and may go
// on together.
struct AgreedFailure {
  dist::Failure failure;
};
// Collective: nothing if no replica failed, else AgreedFailure on all of them.
void agree_or_throw(const dist::Comm& comm, const std::optional<dist::Failure>& failure);

}  // namespace bitgrid
