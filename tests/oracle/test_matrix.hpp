#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "kernels/matrix.hpp"

namespace bitgrid::oracle {

using Row = std::vector<double>;
using Rows = std::vector<Row>;

inline Matrix<float> random_matrix(std::int64_t rows, std::int64_t cols, unsigned seed,
                                   double deviation = 1) {
  std::mt19937 generator(seed);
  std::normal_distribution<double> normal(0, deviation);
  Matrix<float> m(rows, cols);
  for (std::int64_t i = 0; i < m.size(); ++i) m.data()[i] = static_cast<float>(normal(generator));
  return m;
}

// Whole numbers of at most this magnitude: sums of their products are exact in any order.
inline Matrix<float> integer_matrix(std::int64_t rows, std::int64_t cols, unsigned seed,
                                    int magnitude = 7) {
  std::mt19937 generator(seed);
  std::uniform_int_distribution<int> uniform(-magnitude, magnitude);
  Matrix<float> m(rows, cols);
  for (std::int64_t i = 0; i < m.size(); ++i) m.data()[i] = static_cast<float>(uniform(generator));
  return m;
}

inline Rows widen(MatrixView<const float> m) {
  Rows rows;
  for (std::int64_t r = 0; r < m.rows; ++r) rows.emplace_back(m.row(r), m.row(r) + m.cols);
  return rows;
}

inline bool same_bytes(MatrixView<const float> a, MatrixView<const float> b) {
  if (a.rows != b.rows || a.cols != b.cols) return false;
  for (std::int64_t r = 0; r < a.rows; ++r)
    if (std::memcmp(a.row(r), b.row(r), static_cast<std::size_t>(a.cols) * sizeof(float)) != 0)
      return false;
  return true;
}

// Largest difference over largest magnitude of the reference; infinity if a value is not finite or
// a shape differs.
inline double relative_difference(MatrixView<const float> found, const Rows& expected) {
  double difference = 0;
  double magnitude = 0;
  if (found.rows != static_cast<std::int64_t>(expected.size()))
    return std::numeric_limits<double>::infinity();
  for (std::int64_t r = 0; r < found.rows; ++r) {
    const Row& row = expected[static_cast<std::size_t>(r)];
    if (found.cols != static_cast<std::int64_t>(row.size()))
      return std::numeric_limits<double>::infinity();
    for (std::int64_t c = 0; c < found.cols; ++c) {
      const double e = row[static_cast<std::size_t>(c)];
      const double d = std::fabs(static_cast<double>(found(r, c)) - e);
      if (!std::isfinite(d)) return std::numeric_limits<double>::infinity();
      difference = std::max(difference, d);
      magnitude = std::max(magnitude, std::fabs(e));
    }
  }
  return magnitude == 0 ? difference : difference / magnitude;
}

// Rounding errors of an fp32 reduction add up like a random walk: a few times eps · sqrt(length)
// per operation.
inline double fp32_tolerance(std::int64_t length, int operations = 1) {
  return 3 * operations * std::numeric_limits<float>::epsilon() *
         std::sqrt(static_cast<double>(length));
}

}  // namespace bitgrid::oracle
