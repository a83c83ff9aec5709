#pragma once

#include <cstdint>
#include <span>

#include "core/methods/factor.hpp"

namespace bitgrid {

// What column loops minimize, for rows that were rounded without one: loss[r] = ½·d_r H d_rᵀ, where
// H = 2S/N with the factor's damping (none, where there is no factor).
//   off [rows, in]: weight minus what stands for it, 0 in dead columns    gram [in, in] S, lower
void measure_objective(const Place& place, MatrixView<const float> off, const Matrix<float>& gram,
                       const Factor& factor, std::int64_t tokens, std::span<double> loss);

}  // namespace bitgrid
