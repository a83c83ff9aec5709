#pragma once

#include "kernels/matrix.hpp"
#include "kernels/place.hpp"

namespace bitgrid {

// y = silu(gate) ∘ up, silu(t) = t / (1 + exp(−t)) (Shazeer 2020, SwiGLU).
//   gate, up, y [tokens, intermediate] fp32; y may be gate or up
void swiglu(const Place& place, MatrixView<const float> gate, MatrixView<const float> up,
            MatrixView<float> y);

namespace cpu {
void swiglu(const Place& place, MatrixView<const float> gate, MatrixView<const float> up,
            MatrixView<float> y);
}
namespace cuda {
void swiglu(void* stream, MatrixView<const float> gate, MatrixView<const float> up,
            MatrixView<float> y);
}

}  // namespace bitgrid
