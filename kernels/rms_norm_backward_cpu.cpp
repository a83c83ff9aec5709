#include <cmath>

#include "kernels/multiversion.hpp"
#include "kernels/rms_norm_backward.hpp"
#include "kernels/row_tiles.hpp"
#include "kernels/vector_math.hpp"

namespace bitgrid::cpu {
namespace {
struct RowSums {
  float squares;  // Σ x²
  float slope;    // Σ w · dy · x
};

BITGRID_MULTIVERSION
RowSums row_sums(const float* x, const float* w, const float* dy, std::int64_t n) {
  float squares[kLanes] = {}, slopes[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int l = 0; l < kLanes; ++l) {
      squares[l] += x[i + l] * x[i + l];
      slopes[l] += w[i + l] * dy[i + l] * x[i + l];
    }
  float square = 0, slope = 0;
  for (; i < n; ++i) {
    square += x[i] * x[i];
    slope += w[i] * dy[i] * x[i];
  }
  return {sum_lanes(squares) + square, sum_lanes(slopes) + slope};
}

BITGRID_MULTIVERSION
void add_row(const float* x, const float* w, const float* dy, float scale, float pull, float* dx,
             std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) dx[i] += scale * (w[i] * dy[i] - x[i] * pull);
}
}  // namespace

void rms_norm_backward(const Place& place, MatrixView<const float> x,
                       MatrixView<const float> weight, float epsilon, MatrixView<const float> dy,
                       MatrixView<float> dx) {
  const auto n = static_cast<float>(x.cols);
  for_row_tiles(place, x.rows, [&](std::int64_t first, std::int64_t end) {
    for (std::int64_t r = first; r < end; ++r) {
      const RowSums sums = row_sums(x.row(r), weight.data, dy.row(r), x.cols);
      const float mean = sums.squares / n + epsilon;
      add_row(x.row(r), weight.data, dy.row(r), 1.0f / std::sqrt(mean), sums.slope / n / mean,
              dx.row(r), x.cols);
    }
  });
}

}  // namespace bitgrid::cpu
