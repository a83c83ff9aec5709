#pragma once

#include "kernels/linear.hpp"

namespace bitgrid {

// Gradients of a linear layer y = x wᵀ, given dy = ∂L/∂y.
//   x, dx [tokens, in] fp32    w, dw [out, in] fp32    dy [tokens, out] fp32
// Results are cut into tiles that depend on the shapes alone, as in `linear`.

// dx = dy w, or dx += dy w.
void linear_backward_input(const Place& place, MatrixView<const float> dy,
                           MatrixView<const float> w, MatrixView<float> dx,
                           Accumulate accumulate = Accumulate::no);
// dw = dyᵀ x, or dw += dyᵀ x. A caller that wants some rows of dw passes these columns of dy.
void linear_backward_weight(const Place& place, MatrixView<const float> dy,
                            MatrixView<const float> x, MatrixView<float> dw,
                            Accumulate accumulate = Accumulate::no);

namespace cpu {
void linear_backward_input(const Place& place, MatrixView<const float> dy,
                           MatrixView<const float> w, MatrixView<float> dx, Accumulate accumulate);
void linear_backward_weight(const Place& place, MatrixView<const float> dy,
                            MatrixView<const float> x, MatrixView<float> dw, Accumulate accumulate);
}  // namespace cpu
namespace cuda {
void linear_backward_input(void* stream, MatrixView<const float> dy, MatrixView<const float> w,
                           MatrixView<float> dx, Accumulate accumulate);
void linear_backward_weight(void* stream, MatrixView<const float> dy, MatrixView<const float> x,
                            MatrixView<float> dw, Accumulate accumulate);
}  // namespace cuda

}  // namespace bitgrid
