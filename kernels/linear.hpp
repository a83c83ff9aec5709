#pragma once

#include "kernels/matrix.hpp"
#include "kernels/place.hpp"

namespace bitgrid {

enum class Accumulate { no, yes };

// y = x wᵀ, or y += x wᵀ: a linear layer without bias.
//   x [tokens, in] fp32    w [out, in] fp32    y [tokens, out] fp32
// The output is cut into tiles that depend on the shapes alone, so y is the same bytes on any
// number of threads.
void linear(const Place& place, MatrixView<const float> x, MatrixView<const float> w,
            MatrixView<float> y, Accumulate accumulate = Accumulate::no);

namespace cpu {
void linear(const Place& place, MatrixView<const float> x, MatrixView<const float> w,
            MatrixView<float> y, Accumulate accumulate);
}
namespace cuda {
void linear(void* stream, MatrixView<const float> x, MatrixView<const float> w, MatrixView<float> y,
            Accumulate accumulate);
}

}  // namespace bitgrid
