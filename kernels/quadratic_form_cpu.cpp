#include <cblas.h>

#include <algorithm>

#include "kernels/parallel.hpp"
#include "kernels/quadratic_form.hpp"

namespace bitgrid::cpu {
namespace {

constexpr std::int64_t kTileCols = 512;

// d S dᵀ = Σ over column blocks c of  d_c S_cc d_cᵀ + 2·(d_below S_below,c) d_cᵀ: half the work of
// the full product.
void tile_values(MatrixView<const float> d, MatrixView<const float> s, double* values) {
  Matrix<float> product(d.rows, kTileCols);
  std::fill(values, values + d.rows, 0.0);
  const int rows = static_cast<int>(d.rows);
  const int ldd = static_cast<int>(d.stride);
  const int lds = static_cast<int>(s.stride);
  for (std::int64_t first = 0; first < d.cols; first += kTileCols) {
    const int cols = static_cast<int>(std::min(kTileCols, d.cols - first));
    const std::int64_t below = first + cols;
    cblas_ssymm(CblasRowMajor, CblasRight, CblasLower, rows, cols, 1.0f, &s(first, first), lds,
                d.data + first, ldd, 0.0f, product.data(), static_cast<int>(kTileCols));
    if (below < d.cols)
      cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, rows, cols,
                  static_cast<int>(d.cols - below), 2.0f, d.data + below, ldd, &s(below, first),
                  lds, 1.0f, product.data(), static_cast<int>(kTileCols));
    for (std::int64_t r = 0; r < d.rows; ++r) {
      double sum = 0;
      for (std::int64_t c = 0; c < cols; ++c)
        sum += static_cast<double>(product(r, c)) * static_cast<double>(d(r, first + c));
      values[r] += sum;
    }
  }
}

}  // namespace

void quadratic_form(const Place& place, MatrixView<const float> d, MatrixView<const float> s,
                    std::span<double> values) {
  const std::int64_t tiles = (d.rows + kQuadraticTileRows - 1) / kQuadraticTileRows;
  parallel_for(place, tiles, [&](std::int64_t tile) {
    const std::int64_t first = tile * kQuadraticTileRows;
    tile_values(d.rows_from(first, std::min(kQuadraticTileRows, d.rows - first)), s,
                values.data() + first);
  });
}

}  // namespace bitgrid::cpu
