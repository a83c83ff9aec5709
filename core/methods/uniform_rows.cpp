#include "core/methods/uniform_rows.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/methods/grid.hpp"
#include "core/methods/stored_arrays.hpp"
#include "kernels/error.hpp"
#include "kernels/finite.hpp"
#include "kernels/round_to_grid.hpp"

namespace bitgrid {

void check_weights(const Place& place, MatrixView<const float> w, std::int64_t first) {
  if (const auto bad = find_non_finite(place, w))
    throw Error(fmt::format("weight at row {}, column {} is {}; weights must be finite",
                            first + bad->row, bad->col, w(bad->row, bad->col)));
}

namespace {

void check_scales(MatrixView<const float> scales, std::int64_t first) {
  for (std::int64_t r = 0; r < scales.rows; ++r)
    for (std::int64_t g = 0; g < scales.cols; ++g)
      if (!std::isfinite(scales(r, g)))
        throw Error(fmt::format(
            "row {}, group {}: the weights are too large for an fp16 scale (at most 65504)",
            first + r, g));
}

void to_halves(MatrixView<const float> scales, MatrixView<std::uint16_t> halves) {
  for (std::int64_t r = 0; r < scales.rows; ++r)
    for (std::int64_t g = 0; g < scales.cols; ++g) halves(r, g) = f32_to_f16(scales(r, g));
}

StoredArray scales_array(const UniformGrid& grid, MatrixView<const float> scales) {
  if (!grid.scale_f16) return matrix_array("scales", scales);
  Matrix<std::uint16_t> halves(scales.rows, scales.cols);
  to_halves(scales, halves.view());
  return half_array("scales", halves.view());
}

}  // namespace

void store_scales(MatrixView<const float> scales, MatrixView<float> stored, std::int64_t first) {
  check_scales(scales, first);
  for (std::int64_t r = 0; r < scales.rows; ++r)
    std::copy_n(scales.row(r), scales.cols, stored.row(r));
}

void store_scales(MatrixView<const float> scales, MatrixView<std::uint16_t> stored,
                  std::int64_t first) {
  check_scales(scales, first);
  to_halves(scales, stored);
}

UniformRows::UniformRows(std::int64_t rows, std::int64_t cols, std::int64_t group)
    : codes(rows, cols), scales(rows, cols / group), zeros(rows, cols / group), loss(rows, 1) {}

RowBlock UniformRows::block(std::function<void(std::int64_t first, std::int64_t count)> solve) {
  return {codes.rows(),
          {RowPlane::of(codes), RowPlane::of(scales), RowPlane::of(zeros), RowPlane::of(loss)},
          std::move(solve)};
}

double UniformRows::total_loss() const {
  double sum = 0;
  for (std::int64_t r = 0; r < loss.rows(); ++r) sum += loss(r, 0);
  return sum;
}

void round_rows_to_nearest(const Place& place, const UniformGrid& grid, std::int64_t group,
                           MatrixView<const float> w, MatrixView<float> scales,
                           MatrixView<std::uint8_t> zeros, MatrixView<std::uint8_t> codes) {
  fit_grid(place, grid, w, group, scales, zeros);
  round_to_grid(place, grid, w, natural_groups(w.cols, group), scales, zeros, codes);
}

void row_errors(const Place& place, MatrixView<const float> w,
                std::span<const std::int32_t> group_of, MatrixView<const float> scales,
                MatrixView<const std::uint8_t> zeros, MatrixView<const std::uint8_t> codes,
                double* errors) {
  Matrix<float> q(w.rows, w.cols);
  dequantize(place, codes, group_of, scales, zeros, q.view());
  for (std::int64_t r = 0; r < w.rows; ++r) {
    double sum = 0;
    for (std::int64_t j = 0; j < w.cols; ++j) {
      const double d = w(r, j) - q(r, j);
      sum += d * d;
    }
    errors[r] = sum;
  }
}

QuantizedLinear assemble_uniform(const LinearTask& task, const UniformRows& rows) {
  QuantizedLinear linear;
  linear.name = task.name();
  linear.format = "uniform";
  linear.rows = rows.codes.rows();
  linear.cols = rows.codes.cols();
  linear.bits = static_cast<int>(task.recipe.bits);
  linear.group = task.recipe.group;
  linear.arrays.push_back(packed_array("codes", rows.codes.view(), linear.bits));
  linear.arrays.push_back(scales_array(recipe_grid(task.recipe), rows.scales.view()));
  if (!task.recipe.flag("symmetric"))
    linear.arrays.push_back(packed_array("zeros", rows.zeros.view(), linear.bits));
  linear.diagnostics.loss = rows.total_loss();
  return linear;
}

}  // namespace bitgrid
