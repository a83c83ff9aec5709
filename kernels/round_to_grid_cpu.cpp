#include <algorithm>

#include "kernels/grid_lanes.hpp"
#include "kernels/multiversion.hpp"
#include "kernels/parallel.hpp"
#include "kernels/round_to_grid.hpp"

namespace bitgrid::cpu {
namespace {

// Scales and zeros of one row, spread over its columns, make both row loops plain vector loops.
struct RowGrid {
  explicit RowGrid(std::int64_t in) : scale(1, in), zero(1, in) {}
  void spread(std::span<const std::int32_t> group_of, const float* scales,
              const std::uint8_t* zeros) {
    for (std::size_t j = 0; j < group_of.size(); ++j) {
      scale.data()[j] = scales[group_of[j]];
      zero.data()[j] = static_cast<float>(zeros[group_of[j]]);
    }
  }
  Matrix<float> scale, zero;
};

BITGRID_MULTIVERSION
void round_row(const float* w, std::int64_t in, const float* scale, const float* zero, float maxq,
               std::uint8_t* codes) {
  for (std::int64_t j = 0; j < in; ++j)
    codes[j] = static_cast<std::uint8_t>(
        static_cast<std::int32_t>(grid_code(w[j], scale[j], zero[j], maxq)));
}

BITGRID_MULTIVERSION
void dequantize_row(const std::uint8_t* codes, std::int64_t in, const float* scale,
                    const float* zero, float* w) {
  for (std::int64_t j = 0; j < in; ++j)
    w[j] = grid_value(static_cast<float>(codes[j]), scale[j], zero[j]);
}

// Columns [first, first + columns) of up to kLanes rows, lanes side by side; missing rows are zero.
void load_lanes(MatrixView<const float> w, std::int64_t row, std::int64_t first,
                std::int64_t columns, float* lanes) {
  const std::int64_t rows = std::min(kLanes, w.rows - row);
  if (rows < kLanes) std::fill(lanes, lanes + columns * kLanes, 0.0f);
  for (std::int64_t r = 0; r < rows; ++r) {
    const float* from = w.row(row + r) + first;
    for (std::int64_t j = 0; j < columns; ++j) lanes[j * kLanes + r] = from[j];
  }
}

constexpr std::int64_t kRowsPerTask = 16;
std::int64_t tasks_of(std::int64_t rows) { return (rows + kRowsPerTask - 1) / kRowsPerTask; }

}  // namespace

void fit_grid(const Place& place, const UniformGrid& grid, MatrixView<const float> w,
              std::int64_t group, MatrixView<float> scales, MatrixView<std::uint8_t> zeros) {
  parallel_for(place, (w.rows + kLanes - 1) / kLanes, [&](std::int64_t panel) {
    const std::int64_t row = panel * kLanes;
    Matrix<float> lanes(group, kLanes);
    alignas(64) float scale[kLanes], zero[kLanes];
    for (std::int64_t g = 0; g < scales.cols; ++g) {
      load_lanes(w, row, g * group, group, lanes.data());
      fit_group_lanes(grid, lanes.data(), group, kLanes, scale, zero);
      for (std::int64_t r = 0; r < std::min(kLanes, w.rows - row); ++r) {
        scales(row + r, g) = scale[r];
        zeros(row + r, g) = static_cast<std::uint8_t>(zero[r]);
      }
    }
  });
}

void round_to_grid(const Place& place, const UniformGrid& grid, MatrixView<const float> w,
                   std::span<const std::int32_t> group_of, MatrixView<const float> scales,
                   MatrixView<const std::uint8_t> zeros, MatrixView<std::uint8_t> codes) {
  parallel_for(place, tasks_of(w.rows), [&](std::int64_t task) {
    RowGrid row(w.cols);
    for (std::int64_t r = task * kRowsPerTask; r < std::min(w.rows, (task + 1) * kRowsPerTask);
         ++r) {
      row.spread(group_of, scales.row(r), zeros.row(r));
      round_row(w.row(r), w.cols, row.scale.data(), row.zero.data(), grid.maxq(), codes.row(r));
    }
  });
}

void dequantize(const Place& place, MatrixView<const std::uint8_t> codes,
                std::span<const std::int32_t> group_of, MatrixView<const float> scales,
                MatrixView<const std::uint8_t> zeros, MatrixView<float> w) {
  parallel_for(place, tasks_of(w.rows), [&](std::int64_t task) {
    RowGrid row(w.cols);
    for (std::int64_t r = task * kRowsPerTask; r < std::min(w.rows, (task + 1) * kRowsPerTask);
         ++r) {
      row.spread(group_of, scales.row(r), zeros.row(r));
      dequantize_row(codes.row(r), w.cols, row.scale.data(), row.zero.data(), w.row(r));
    }
  });
}

}  // namespace bitgrid::cpu
