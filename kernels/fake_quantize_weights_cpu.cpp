#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels/fake_quantize_weights.hpp"
#include "kernels/group_ranges.hpp"
#include "kernels/multiversion.hpp"
#include "kernels/parallel.hpp"
#include "kernels/round_to_grid.hpp"

namespace bitgrid::cpu {
namespace {

constexpr std::int64_t kRowsPerTask = 64;  // what fit_grid takes side by side

BITGRID_MULTIVERSION
void multiply(const float* a, const float* b, std::int64_t count, float* product) {
  for (std::int64_t j = 0; j < count; ++j) product[j] = a[j] * b[j];
}

// Buffers of one task: rows before and after they are scaled, and their grids.
struct Tile {
  Tile(std::int64_t rows, std::int64_t in, std::int64_t groups)
      : scaled(rows, in), scale(rows, groups), zero(rows, groups), range(2, groups) {}
  Matrix<float> scaled, scale, zero, range;
};

void fit_tile(const Place& place, const UniformGrid& grid, std::int64_t group, Tile& t) {
  if (!grid.mse) {
    for (std::int64_t r = 0; r < t.scaled.rows(); ++r) {
      group_ranges(t.scaled.row(r), t.scaled.cols(), group, t.range.row(0), t.range.row(1));
      fit_ranges(grid, t.range.cols(), t.range.row(0), t.range.row(1), t.scale.row(r),
                 t.zero.row(r));
    }
    return;
  }
  Matrix<std::uint8_t> zeros(t.zero.rows(), t.zero.cols());
  cpu::fit_grid(place, grid, t.scaled.view(), group, t.scale.view(), zeros.view());
  for (std::int64_t i = 0; i < zeros.size(); ++i)
    t.zero.data()[i] = static_cast<float>(zeros.data()[i]);
}

}  // namespace

void fake_quantize_weights(const Place& place, const UniformGrid& grid, MatrixView<const float> w,
                           std::int64_t group, std::span<const float> scale, MatrixView<float> y) {
  std::vector<float> inverse;
  for (const float s : scale) inverse.push_back(1.0f / s);
  parallel_for(place, (w.rows + kRowsPerTask - 1) / kRowsPerTask, [&](std::int64_t task) {
    const std::int64_t first = task * kRowsPerTask;
    const std::int64_t rows = std::min(kRowsPerTask, w.rows - first);
    Tile t(rows, w.cols, w.cols / group);
    for (std::int64_t r = 0; r < rows; ++r) {
      if (scale.empty())
        std::copy_n(w.row(first + r), w.cols, t.scaled.row(r));
      else
        multiply(w.row(first + r), scale.data(), w.cols, t.scaled.row(r));
    }
    fit_tile(place, grid, group, t);
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t g = 0; g < t.scale.cols(); ++g)
        round_values(t.scaled.row(r) + g * group, group, t.scale(r, g), t.zero(r, g), grid.maxq(),
                     y.row(first + r) + g * group);
      if (!scale.empty()) multiply(y.row(first + r), inverse.data(), w.cols, y.row(first + r));
    }
  });
}

}  // namespace bitgrid::cpu
