#pragma once

#include "core/methods/method.hpp"

namespace bitgrid {

// What `fdb-block` does to a layer that fdb-gptq has rounded: all scales of its seven linears are
// moved together, by gradient descent, towards the smallest error of the layer's output,
//   L = Σ ‖layer_q(x) − layer(x)‖² / Σ ‖layer(x) − x‖²  over the calibration windows.
// Codes stay as they are: coding the original weights again would undo the feedback. What is stored
// changes only if L, with the scales rounded to fp16, has become smaller. Layer array (not needed
// to rebuild): "tuning_loss" [2] f32, L before and L of the tuned scales, whichever is kept.
TunedLayer tune_fdb_scales(const Place& place, const LayerTask& task,
                           std::span<const QuantizedLinear> linears, LayerWork& work);

}  // namespace bitgrid
