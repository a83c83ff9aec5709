#pragma once

#include <cstdint>

#include "kernels/matrix.hpp"
#include "kernels/place.hpp"

namespace bitgrid {

// Rotary position embedding, half-split (Hugging Face's order), in place. Row t of x is the token
// at row t of the tables; each of its heads u [head_size] becomes
//   u'[j]       = u[j] c_j       − u[j + d/2] s_j
//   u'[j + d/2] = u[j + d/2] c_j + u[j] s_j            j = 0 … d/2 − 1,  d = head_size
//   x [tokens, heads · head_size] fp32    cos, sin [at least tokens, head_size / 2] fp32
void rope(const Place& place, MatrixView<float> x, std::int64_t head_size,
          MatrixView<const float> cos, MatrixView<const float> sin);

// The rotation back, in place: what takes the gradient of rotated heads to that of the heads.
void rope_backward(const Place& place, MatrixView<float> x, std::int64_t head_size,
                   MatrixView<const float> cos, MatrixView<const float> sin);

namespace cpu {
void rope(const Place& place, MatrixView<float> x, std::int64_t head_size,
          MatrixView<const float> cos, MatrixView<const float> sin);
void rope_backward(const Place& place, MatrixView<float> x, std::int64_t head_size,
                   MatrixView<const float> cos, MatrixView<const float> sin);
}  // namespace cpu
namespace cuda {
void rope(void* stream, MatrixView<float> x, std::int64_t head_size, MatrixView<const float> cos,
          MatrixView<const float> sin);
void rope_backward(void* stream, MatrixView<float> x, std::int64_t head_size,
                   MatrixView<const float> cos, MatrixView<const float> sin);
}  // namespace cuda

}  // namespace bitgrid
