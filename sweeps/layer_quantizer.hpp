#pragma once

#include <optional>
#include <span>
#include <vector>

#include "core/methods/method.hpp"
#include "core/methods/recipe_needs.hpp"
#include "sweeps/rank_context.hpp"
#include "sweeps/window_states.hpp"

namespace bitgrid {

// One cell's part in a layer.
struct LayerMember {
  const Recipe* recipe = nullptr;
  results::Seconds* seconds = nullptr;
  LayerWeights weights;                  // out: what stands for the layer from now on
  std::vector<QuantizedLinear> linears;  // out: in the order of kLinears
  std::vector<StoredArray> arrays;       // out: of the layer itself
  std::optional<dist::Failure> failure;  // out: why this cell failed, on every replica
};

// Quantizes one layer for cells that share its inputs; collective over the stage's replicas.
// `weights` is the checkpoint's layer; it is moved from where there is a single member.
//   calibration: the windows at the layer's input, null where no member needs any; moved to the
//   output of the layer as it is for the next one (the unquantized layer with recipe_full_inputs,
//   else the quantized one) unless last_use
// Each cell's chain: transforms one after the other, each from a walk through the layer as the one
// before left it; then the rounding. With true_sequential the linears behind a tap are quantized
// when the walk gets there, and it goes on with the quantized ones: one forward in all. A failure
// of one of several members is left in `failure`; what concerns all throws AgreedFailure.
void quantize_layer(RankContext& rank, std::int64_t layer, LayerWeights& weights,
                    std::span<LayerMember> members, WindowStates* calibration, bool last_use);

}  // namespace bitgrid
