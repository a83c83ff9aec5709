#pragma once

#include "kernels/matrix.hpp"
#include "kernels/place.hpp"

namespace bitgrid {

// y_j = w_j · x_j / sqrt(mean_j(x_j²) + epsilon), row by row (Zhang and Sennrich 2019, without
// re-centering).
//   x, y [tokens, hidden] fp32, y may be x    weight [1, hidden] fp32
// Squares are summed in fp32: the residual stream has channels of 1e4, and 1e8 · hidden is far
// below the largest fp32.
void rms_norm(const Place& place, MatrixView<const float> x, MatrixView<const float> weight,
              float epsilon, MatrixView<float> y);

namespace cpu {
void rms_norm(const Place& place, MatrixView<const float> x, MatrixView<const float> weight,
              float epsilon, MatrixView<float> y);
}
namespace cuda {
void rms_norm(void* stream, MatrixView<const float> x, MatrixView<const float> weight,
              float epsilon, MatrixView<float> y);
}

}  // namespace bitgrid
