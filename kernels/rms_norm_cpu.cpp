#include <cmath>

#include "kernels/multiversion.hpp"
#include "kernels/parallel.hpp"
#include "kernels/rms_norm.hpp"
#include "kernels/row_tiles.hpp"
#include "kernels/vector_math.hpp"

namespace bitgrid::cpu {
namespace {
BITGRID_MULTIVERSION
float sum_of_squares(const float* x, std::int64_t n) {
  float lanes[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int l = 0; l < kLanes; ++l) lanes[l] += x[i + l] * x[i + l];
  float rest = 0;
  for (; i < n; ++i) rest += x[i] * x[i];
  return sum_lanes(lanes) + rest;
}

BITGRID_MULTIVERSION
void scale_row(const float* x, const float* w, float scale, float* y, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = w[i] * (x[i] * scale);
}
}  // namespace

void rms_norm(const Place& place, MatrixView<const float> x, MatrixView<const float> weight,
              float epsilon, MatrixView<float> y) {
  for_row_tiles(place, x.rows, [&](std::int64_t first, std::int64_t end) {
    for (std::int64_t r = first; r < end; ++r) {
      const float mean = sum_of_squares(x.row(r), x.cols) / static_cast<float>(x.cols);
      scale_row(x.row(r), weight.data, 1.0f / std::sqrt(mean + epsilon), y.row(r), x.cols);
    }
  });
}

}  // namespace bitgrid::cpu
