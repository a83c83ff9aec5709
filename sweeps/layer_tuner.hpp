#pragma once

#include "sweeps/layer_quantizer.hpp"

namespace bitgrid {

// Tunes a cell's rounded layer as its recipe's method does (Method::tune), and replaces stored
// linears, weights and layer arrays by what came out; returns whether linears changed. Collective.
//   before: the layer as it was before rounding    input: the calibration windows at its input
bool tune_layer(RankContext& rank, std::int64_t layer, LayerMember& member,
                const LayerWeights& before, WindowStates& input);

}  // namespace bitgrid
