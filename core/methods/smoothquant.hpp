#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/methods/method.hpp"

namespace bitgrid {

// SmoothQuant (Xiao et al. 2023): every input channel j of the linears behind a norm is divided by
// s_j and their columns are multiplied by it, so that outliers of activations move into the
// weights; then both are put on grids. The norms' weights γ/s are stored as bf16, and columns take
// the factor γ/γ' that this really is.
std::unique_ptr<Transform> start_smoothquant(const LayerTask& task);

// s_j from the magnitudes a_j of a channel's activations and v_j of its weights; α is `alpha`.
//   reference       a = max|x|, v = max|w|:         max(a^α / max(v, 1e-5)^(1−α), 1e-5); 1 where v
//   = 0 llm-compressor  a = max x − min x, v = 2·max|w|: max(a^α / v^(1−α), 1e-5); a where v = 0
//   logarithmic     a = max x − min x:              max(a / log2(2 + a), 1e-5)
// 1 where a = 0: a channel that calibration never saw active must not explode when it is.
std::vector<float> smoothing_factors(const std::string& rule, double alpha,
                                     std::span<const float> a, std::span<const float> v);

}  // namespace bitgrid
