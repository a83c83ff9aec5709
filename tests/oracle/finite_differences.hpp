#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <random>

#include "tests/oracle/test_matrix.hpp"

namespace bitgrid::oracle {

// Slopes of a function of fp64 rows by central differences. With h = 1e-4 the third derivative
// leaves about 1e-8, rounding about 1e-11.
constexpr double kStep = 1e-4;

// ∂L/∂at, element by element.
inline Rows slopes(const std::function<double(const Rows&)>& loss, const Rows& at) {
  Rows moved = at, result = at;
  for (std::size_t r = 0; r < at.size(); ++r)
    for (std::size_t c = 0; c < at[r].size(); ++c) {
      moved[r][c] = at[r][c] + kStep;
      const double above = loss(moved);
      moved[r][c] = at[r][c] - kStep;
      result[r][c] = (above - loss(moved)) / (2 * kStep);
      moved[r][c] = at[r][c];
    }
  return result;
}

inline Rows random_rows(const Rows& shape, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<double> normal(0, 1);
  Rows rows = shape;
  for (Row& row : rows)
    for (double& v : row) v = normal(generator);
  return rows;
}

// Σ a ∘ b: a loss whose gradient with respect to a is b.
inline double dot(const Rows& a, const Rows& b) {
  double sum = 0;
  for (std::size_t r = 0; r < a.size(); ++r)
    for (std::size_t c = 0; c < a[r].size(); ++c) sum += a[r][c] * b[r][c];
  return sum;
}

// The slope along a direction: for inputs with too many elements to move each of them.
inline double slope_along(const std::function<double(const Rows&)>& loss, const Rows& at,
                          const Rows& direction) {
  Rows above = at, below = at;
  for (std::size_t r = 0; r < at.size(); ++r)
    for (std::size_t c = 0; c < at[r].size(); ++c) {
      above[r][c] += kStep * direction[r][c];
      below[r][c] -= kStep * direction[r][c];
    }
  return (loss(above) - loss(below)) / (2 * kStep);
}

inline double norm(const Rows& a) { return std::sqrt(dot(a, a)); }

inline Matrix<float> narrow(const Rows& rows) {
  Matrix<float> m(static_cast<std::int64_t>(rows.size()),
                  static_cast<std::int64_t>(rows.front().size()));
  for (std::int64_t r = 0; r < m.rows(); ++r)
    for (std::int64_t c = 0; c < m.cols(); ++c)
      m(r, c) = static_cast<float>(rows[static_cast<std::size_t>(r)][static_cast<std::size_t>(c)]);
  return m;
}

}  // namespace bitgrid::oracle
