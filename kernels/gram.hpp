#pragma once

#include "kernels/matrix.hpp"
#include "kernels/place.hpp"

namespace bitgrid {

// s += xᵀx, lower triangle only. GPTQ's H is 2s/N up to a factor its codes do not depend on
// (Frantar et al. 2023, sec. 3; their X is our xᵀ).
//   x [tokens, in] fp32    s [in, in] fp32, accumulated in place; what lies above the diagonal is
//   left alone
// For down_proj (in = 28672) s is 28672² x 4 B = 3.3 GB, the largest statistic there is.
void accumulate_gram(const Place& place, MatrixView<const float> x, MatrixView<float> s);
namespace cpu {
void accumulate_gram(const Place& place, MatrixView<const float> x, MatrixView<float> s);
}
namespace cuda {
void accumulate_gram(const Place& place, MatrixView<const float> x, MatrixView<float> s);
}

}  // namespace bitgrid
