#include "core/methods/uniform_rows.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/methods/grid.hpp"
#include "kernels/error.hpp"
#include "kernels/finite.hpp"
#include "kernels/quadratic_form.hpp"
#include "kernels/round_to_grid.hpp"

namespace bitgrid {
namespace {

void store_scales(MatrixView<const float> scales, MatrixView<std::uint16_t> stored) {
  for (std::int64_t r = 0; r < scales.rows; ++r)
    for (std::int64_t g = 0; g < scales.cols; ++g) {
      if (!std::isfinite(scales(r, g)))
        throw Error(fmt::format(
            "row {}, group {}: the weights are too large for an fp16 scale (at most 65504)", r, g));
      stored(r, g) = f32_to_f16(scales(r, g));
    }
}

double squared_norm(const float* v, std::int64_t count) {
  double sum = 0;
  for (std::int64_t i = 0; i < count; ++i)
    sum += static_cast<double>(v[i]) * static_cast<double>(v[i]);
  return sum;
}

void measure_outputs(const Place& place, MatrixView<const float> d, MatrixView<const float> gram,
                     double* values) {
  if (values == nullptr) return;
  if (gram.rows == 0) {
    std::fill(values, values + d.rows, std::numeric_limits<double>::quiet_NaN());
    return;
  }
  quadratic_form(place, d, gram, {values, static_cast<std::size_t>(d.rows)});
  // A squared norm; rounding errors of the products may push a tiny one below zero.
  for (std::int64_t r = 0; r < d.rows; ++r) values[r] = std::max(values[r], 0.0);
}

}  // namespace

void check_weights(const Place& place, MatrixView<const float> w) {
  if (const auto bad = find_non_finite(place, w))
    throw Error(fmt::format("weight at row {}, column {} is {}; weights must be finite", bad->row,
                            bad->col, w(bad->row, bad->col)));
}

void round_rows_to_nearest(const Place& place, const UniformGrid& grid, std::int64_t group,
                           MatrixView<const float> w, MatrixView<float> scales,
                           MatrixView<std::uint8_t> zeros, MatrixView<std::uint8_t> codes) {
  fit_grid(place, grid, w, group, scales, zeros);
  round_to_grid(place, grid, w, natural_groups(w.cols, group), scales, zeros, codes);
}

void finish_rows(const Place& place, MatrixView<const float> w,
                 std::span<const std::int32_t> group_of, MatrixView<const float> scales,
                 MatrixView<const float> gram, const RowsOut& out) {
  store_scales(scales, out.scales);
  Matrix<float> off(w.rows, w.cols);  // w − q
  dequantize(place, out.codes, group_of, scales, out.zeros, off.view());
  for (std::int64_t r = 0; r < w.rows; ++r) {
    float* d = off.row(r);
    const float* from = w.row(r);
    for (std::int64_t j = 0; j < w.cols; ++j) d[j] = from[j] - d[j];
    if (out.weight_error != nullptr) out.weight_error[r] = squared_norm(d, w.cols);
    if (out.weight_norm != nullptr) out.weight_norm[r] = squared_norm(from, w.cols);
  }
  measure_outputs(place, off.view(), gram, out.output_error);
  measure_outputs(place, w, gram, out.output_norm);
}

}  // namespace bitgrid
