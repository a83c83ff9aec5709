#pragma once

#include <cstring>

#include "core/methods/factor.hpp"
#include "core/methods/grid.hpp"
#include "core/methods/stored_arrays.hpp"
#include "tests/core/methods/solo_work.hpp"

namespace bitgrid::test {

// One linear of format "uniform" from weight and statistics to arrays and back.
struct Solved {
  QuantizedLinear linear;
  Matrix<float> weight;
  Matrix<std::uint8_t> codes, zeros;
  Matrix<std::uint16_t> scales;
  std::vector<std::int32_t> order;  // empty: identity

  double loss() const { return linear.diagnostics.loss; }
};

inline Matrix<std::uint8_t> zeros_of(const QuantizedLinear& linear, std::int64_t groups) {
  if (linear.find("zeros") != nullptr)
    return read_packed(linear, "zeros", linear.rows, groups, linear.bits);
  Matrix<std::uint8_t> zeros(linear.rows, groups);
  zeros.fill(static_cast<std::uint8_t>(1 << (linear.bits - 1)));
  return zeros;
}

inline Solved solve_linear(const Place& place, const Recipe& recipe, const Statistics& statistics,
                           MatrixView<const float> w, bool one_tile = false) {
  Statistics copy;
  copy.gram = statistics.gram.clone();
  copy.tokens = statistics.tokens;
  SoloTapWork work(place, std::move(copy));
  work.one_tile = one_tile;
  RoundedLinear rounded = round_linear(place, recipe, w, work);
  Solved s;
  s.linear = std::move(rounded.stored);
  s.weight = std::move(rounded.weight);
  const std::int64_t groups = group_count(w.cols, recipe.group);
  s.codes = read_packed(s.linear, "codes", w.rows, w.cols, s.linear.bits);
  s.zeros = zeros_of(s.linear, groups);
  s.scales = Matrix<std::uint16_t>(w.rows, groups);
  std::memcpy(s.scales.data(), s.linear.find("scales")->data.data(),
              static_cast<std::size_t>(s.scales.size()) * 2);
  if (s.linear.find("order") != nullptr) s.order = read_indices(s.linear, "order", w.cols);
  return s;
}

inline Statistics gram_of(MatrixView<const float> x) {
  SoloTapWork work(cpu_place(1), x, {.gram = true});
  Statistics s;
  s.gram = work.statistics().gram.clone();
  s.tokens = x.rows;
  return s;
}

inline Statistics made_up(Matrix<double> gram, std::int64_t tokens) {
  Statistics s;
  s.gram = std::move(gram);
  s.tokens = tokens;
  return s;
}

}  // namespace bitgrid::test
