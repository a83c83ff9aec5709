#pragma once

#include <cstdint>

#include "kernels/matrix.hpp"
#include "kernels/place.hpp"

namespace bitgrid {

// Gradients of y = attention(q, k, v) of one whole sequence, given dy = ∂L/∂y. With the weights P
// of a head, computed again from its q and k, and c = 1 / sqrt(head_size):
//   dv = Pᵀ dy    dP = dy vᵀ    dS = c · P ∘ (dP − rowsum(P ∘ dP))    dq = dS k    dk = dSᵀ q
// Heads that share a key head add up in its dk and dv, in the order of the heads.
//   q, dy, dq [tokens, heads · head_size] fp32    k, v, dk, dv [tokens, kv_heads · head_size] fp32
// q and k are rotated already, and so are dq and dk. Queries go in blocks as in `attention`, one
// after the other, so that sums do not depend on threads; threads take key heads.
void attention_backward(const Place& place, MatrixView<const float> q, MatrixView<const float> k,
                        MatrixView<const float> v, std::int64_t head_size,
                        MatrixView<const float> dy, MatrixView<float> dq, MatrixView<float> dk,
                        MatrixView<float> dv);

namespace cpu {
void attention_backward(const Place& place, MatrixView<const float> q, MatrixView<const float> k,
                        MatrixView<const float> v, std::int64_t head_size,
                        MatrixView<const float> dy, MatrixView<float> dq, MatrixView<float> dk,
                        MatrixView<float> dv);
}
namespace cuda {
void attention_backward(void* stream, MatrixView<const float> q, MatrixView<const float> k,
                        MatrixView<const float> v, std::int64_t head_size,
                        MatrixView<const float> dy, MatrixView<float> dq, MatrixView<float> dk,
                        MatrixView<float> dv);
}

}  // namespace bitgrid
