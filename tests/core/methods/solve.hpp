#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "core/methods/registry.hpp"
#include "kernels/gram.hpp"

namespace bitgrid::test {

// One linear from weight and statistics to arrays, as the runner does it: prepare, tiles of rows,
// assemble.
struct Solved {
  Prepared prepared;
  Matrix<std::uint8_t> codes, zeros;
  Matrix<std::uint16_t> scales;
  std::vector<double> loss, weight_error, weight_norm, output_error, output_norm;
  QuantizedLinear linear;

  double total(const std::vector<double>& values) const {
    double sum = 0;
    for (const double v : values) sum += v;
    return sum;
  }
};

inline void solve_rows(const Place& place, const Recipe& recipe, MatrixView<const float> w,
                       std::int64_t first, std::int64_t count, Solved& s) {
  RowsOut out;
  out.codes = s.codes.rows_from(first, count);
  out.scales = s.scales.rows_from(first, count);
  out.zeros = s.zeros.rows_from(first, count);
  out.loss = s.loss.data() + first;
  out.weight_error = s.weight_error.data() + first;
  out.weight_norm = s.weight_norm.data() + first;
  out.output_error = s.output_error.data() + first;
  out.output_norm = s.output_norm.data() + first;
  recipe_rounding(recipe).round_rows(place, recipe, s.prepared, w.rows_from(first, count), out);
}

inline Solved solve_linear(const Place& place, const Recipe& recipe, const Statistics& statistics,
                           MatrixView<const float> w, bool whole = false) {
  Solved s;
  s.prepared = recipe_rounding(recipe).prepare(place, recipe, statistics, w.cols);
  const std::int64_t groups = group_count(w.cols, recipe.group);
  s.codes = Matrix<std::uint8_t>(w.rows, w.cols);
  s.zeros = Matrix<std::uint8_t>(w.rows, groups);
  s.scales = Matrix<std::uint16_t>(w.rows, groups);
  for (auto* values : {&s.loss, &s.weight_error, &s.weight_norm, &s.output_error, &s.output_norm})
    values->assign(static_cast<std::size_t>(w.rows), std::numeric_limits<double>::quiet_NaN());
  const std::int64_t tile = whole ? w.rows : solve_tile_rows(w.rows);
  for (std::int64_t first = 0; first < w.rows; first += tile)
    solve_rows(place, recipe, w, first, std::min(tile, w.rows - first), s);
  s.linear = assemble_linear(recipe, s.prepared, "self_attn.q_proj", s.codes.view(),
                             s.scales.view(), s.zeros.view());
  return s;
}

inline Statistics gram_of(MatrixView<const float> x) {
  Statistics s;
  s.gram = Matrix<float>(x.cols, x.cols);
  s.gram.fill(0);
  accumulate_gram(cpu_place(1), x, s.gram.view());
  s.tokens = x.rows;
  return s;
}

}  // namespace bitgrid::test
