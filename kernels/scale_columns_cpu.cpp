#include <algorithm>
#include <cmath>

#include "kernels/multiversion.hpp"
#include "kernels/parallel.hpp"
#include "kernels/row_tiles.hpp"
#include "kernels/scale_columns.hpp"

namespace bitgrid::cpu {
namespace {

constexpr std::int64_t kStrip = 1024;  // columns: a strip of maxima stays in the first-level cache

BITGRID_MULTIVERSION
void take_maxima(const float* w, std::int64_t n, float* largest) {
  for (std::int64_t j = 0; j < n; ++j) {
    const float magnitude = std::fabs(w[j]);
    largest[j] = magnitude > largest[j] ? magnitude : largest[j];
  }
}

BITGRID_MULTIVERSION
void scale_row(const float* factors, std::int64_t n, float* w) {
  for (std::int64_t j = 0; j < n; ++j) w[j] *= factors[j];
}

}  // namespace

void column_maxima(const Place& place, MatrixView<const float> w, std::span<float> largest) {
  parallel_for(place, (w.cols + kStrip - 1) / kStrip, [&](std::int64_t strip) {
    const std::int64_t first = strip * kStrip;
    const std::int64_t count = std::min(kStrip, w.cols - first);
    for (std::int64_t r = 0; r < w.rows; ++r)
      take_maxima(w.row(r) + first, count, largest.data() + first);
  });
}

void scale_columns(const Place& place, std::span<const float> factors, MatrixView<float> w) {
  for_row_tiles(place, w.rows, [&](std::int64_t first, std::int64_t end) {
    for (std::int64_t r = first; r < end; ++r) scale_row(factors.data(), w.cols, w.row(r));
  });
}

}  // namespace bitgrid::cpu
