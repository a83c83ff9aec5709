#pragma once

#include <cstdint>
#include <span>

#include "kernels/grid.hpp"
#include "kernels/matrix.hpp"
#include "kernels/place.hpp"

namespace bitgrid {

// y = w as its grid gives it back, each column multiplied by scale[j] before it is rounded and
// divided by it afterwards: y = deq(round(w·diag(scale)))·diag(1/scale).
//   w, y [rows, in]    scale [in], positive; empty: ones    group divides in
// A row depends on itself alone. Weights must be finite; y is not where a grid's scale overflows.
void fake_quantize_weights(const Place& place, const UniformGrid& grid, MatrixView<const float> w,
                           std::int64_t group, std::span<const float> scale, MatrixView<float> y);

namespace cpu {
void fake_quantize_weights(const Place& place, const UniformGrid& grid, MatrixView<const float> w,
                           std::int64_t group, std::span<const float> scale, MatrixView<float> y);
}
namespace cuda {
void fake_quantize_weights(const Place& place, const UniformGrid& grid, MatrixView<const float> w,
                           std::int64_t group, std::span<const float> scale, MatrixView<float> y);
}

}  // namespace bitgrid
