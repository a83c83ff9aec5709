#pragma once

#include <vector>

#include "core/methods/quantized_linear.hpp"
#include "sweeps/rank_context.hpp"
#include "sweeps/window_states.hpp"

namespace bitgrid {

// Quantizes one layer of a cell; collective over the stage's replicas. Calibration windows walk the
// layer's segments once: at each tap their statistics are summed, the linears behind it are
// quantized, and the walk goes on with the quantized weights (true_sequential = false: the
// statistics come from a walk with the weights as they were, then everything is quantized, then the
// windows walk on). calibration is null for recipes without statistics; it is moved to the layer's
// output unless last_use. weights are replaced by the quantized ones.
std::vector<QuantizedLinear> quantize_layer(RankContext& rank, const Recipe& recipe,
                                            std::int64_t layer, LayerWeights& weights,
                                            WindowStates* calibration, bool last_use,
                                            results::Seconds& seconds);

}  // namespace bitgrid
