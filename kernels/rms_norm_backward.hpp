#pragma once

#include "kernels/matrix.hpp"
#include "kernels/place.hpp"

namespace bitgrid {

// The gradient of y = rms_norm(x; w) with respect to x, added to what dx holds: x is the residual
// stream, whose gradient has a part that bypasses the norm. Row by row, with g_j = w_j · dy_j,
// n = hidden and ρ = 1 / sqrt(mean_j(x_j²) + epsilon):
//   dx_j += ρ · (g_j − x_j · ρ² / n · Σ_i g_i x_i)
//   x, dy, dx [tokens, hidden] fp32    weight [1, hidden] fp32
void rms_norm_backward(const Place& place, MatrixView<const float> x,
                       MatrixView<const float> weight, float epsilon, MatrixView<const float> dy,
                       MatrixView<float> dx);

namespace cpu {
void rms_norm_backward(const Place& place, MatrixView<const float> x,
                       MatrixView<const float> weight, float epsilon, MatrixView<const float> dy,
                       MatrixView<float> dx);
}
namespace cuda {
void rms_norm_backward(void* stream, MatrixView<const float> x, MatrixView<const float> weight,
                       float epsilon, MatrixView<const float> dy, MatrixView<float> dx);
}

}  // namespace bitgrid
