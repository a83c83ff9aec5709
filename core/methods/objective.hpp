#pragma once

#include <cstdint>
#include <span>

#include "core/methods/factor.hpp"

namespace bitgrid {

// ½·d_r H d_rᵀ of each row, H = 2S/N: what a column loop minimizes, for weights that were rounded
// without one.
//   w, q, off = w − q [rows, in]    gram S [in, in], lower triangle    loss [rows]

// Without damping, which makes it the output error over the calibration tokens.
void measure_output_loss(const Place& place, MatrixView<const float> w, MatrixView<const float> q,
                         const Matrix<float>& gram, std::int64_t tokens, std::span<double> loss);

// With the factor's damping (none, where there is no factor); off is 0 in dead columns.
void measure_objective(const Place& place, MatrixView<const float> off, const Matrix<float>& gram,
                       const Factor& factor, std::int64_t tokens, std::span<double> loss);

}  // namespace bitgrid
