#pragma once

#include <cstdint>
#include <span>

#include "kernels/matrix.hpp"
#include "kernels/place.hpp"

namespace bitgrid {

// ½·(w − q)H(w − q)ᵀ of each row, H = 2S/N: what a column loop minimizes, without damping; for
// weights that were rounded without feedback.
//   w, q [rows, in]    gram S [in, in], lower triangle    loss [rows]
void measure_output_loss(const Place& place, MatrixView<const float> w, MatrixView<const float> q,
                         const Matrix<float>& gram, std::int64_t tokens, std::span<double> loss);

}  // namespace bitgrid
