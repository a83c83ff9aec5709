#pragma once

#include <optional>
#include <vector>

#include "core/calibration/gram_shards.hpp"
#include "core/methods/rounding.hpp"
#include "core/model/weights.hpp"
#include "sweeps/rank_context.hpp"

namespace bitgrid {

// Quantizes the linears behind one tap on all replicas of a stage: partial statistics are reduced
// to an owner, the owner prepares what the rows share, rows are cut into fixed tiles and spread
// over the replicas, and every replica ends up with all finished rows. Collective over the stage's
// replicas; throws the same Error everywhere if the recipe cannot do it.
//
// partials: this replica's Gram sums (empty when the recipe needs none); tokens: of all replicas
// together. On return weights[linear] are the quantized ones.
std::vector<QuantizedLinear> solve_tap(RankContext& rank, const Recipe& recipe, std::int64_t layer,
                                       Tap tap, std::vector<GramPartial> partials,
                                       std::int64_t tokens, LayerWeights& weights,
                                       results::Seconds& seconds);

}  // namespace bitgrid
