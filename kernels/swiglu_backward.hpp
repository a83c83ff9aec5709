#pragma once

#include "kernels/matrix.hpp"
#include "kernels/place.hpp"

namespace bitgrid {

// Gradients of y = silu(gate) ∘ up, given dy = ∂L/∂y; with σ = 1 / (1 + exp(−gate)):
//   dgate = dy ∘ up ∘ σ (1 + gate (1 − σ))    dup = dy ∘ gate σ
//   gate, up, dy, dgate, dup [tokens, intermediate] fp32; a result may be any of the inputs, but
//   dgate and dup are two
void swiglu_backward(const Place& place, MatrixView<const float> gate, MatrixView<const float> up,
                     MatrixView<const float> dy, MatrixView<float> dgate, MatrixView<float> dup);

namespace cpu {
void swiglu_backward(const Place& place, MatrixView<const float> gate, MatrixView<const float> up,
                     MatrixView<const float> dy, MatrixView<float> dgate, MatrixView<float> dup);
}
namespace cuda {
void swiglu_backward(void* stream, MatrixView<const float> gate, MatrixView<const float> up,
                     MatrixView<const float> dy, MatrixView<float> dgate, MatrixView<float> dup);
}

}  // namespace bitgrid
