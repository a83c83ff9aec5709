#pragma once

#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "kernels/matrix.hpp"

// Plain fp64 loops, to be read once and trusted.
namespace bitgrid::test {

struct Square {
  explicit Square(std::int64_t n) : n(n), a(static_cast<std::size_t>(n * n), 0.0) {}
  double& operator()(std::int64_t i, std::int64_t j) {
    return a[static_cast<std::size_t>(i * n + j)];
  }
  double operator()(std::int64_t i, std::int64_t j) const {
    return a[static_cast<std::size_t>(i * n + j)];
  }
  std::int64_t n;
  std::vector<double> a;
};

// XᵀX
inline Square gram_oracle(MatrixView<const float> x) {
  Square s(x.cols);
  for (std::int64_t t = 0; t < x.rows; ++t)
    for (std::int64_t i = 0; i < x.cols; ++i)
      for (std::int64_t j = 0; j < x.cols; ++j)
        s(i, j) += static_cast<double>(x(t, i)) * static_cast<double>(x(t, j));
  return s;
}

template <class T>
Square from_lower(MatrixView<T> lower) {
  Square s(lower.rows);
  for (std::int64_t i = 0; i < s.n; ++i)
    for (std::int64_t j = 0; j <= i; ++j) s(i, j) = s(j, i) = static_cast<double>(lower(i, j));
  return s;
}

inline Matrix<double> to_lower(const Square& s, double above = 0) {
  Matrix<double> lower(s.n, s.n);
  for (std::int64_t i = 0; i < s.n; ++i)
    for (std::int64_t j = 0; j < s.n; ++j) lower(i, j) = j <= i ? s(i, j) : above;
  return lower;
}

inline Matrix<float> narrowed(const Matrix<double>& wide) {
  Matrix<float> narrow(wide.rows(), wide.cols());
  for (std::int64_t i = 0; i < wide.size(); ++i)
    narrow.data()[i] = static_cast<float>(wide.data()[i]);
  return narrow;
}

// Gauss and Jordan, with row pivoting.
inline Square inverse_oracle(Square a) {
  Square b(a.n);
  for (std::int64_t i = 0; i < a.n; ++i) b(i, i) = 1;
  for (std::int64_t c = 0; c < a.n; ++c) {
    std::int64_t pivot = c;
    for (std::int64_t r = c + 1; r < a.n; ++r)
      if (std::fabs(a(r, c)) > std::fabs(a(pivot, c))) pivot = r;
    for (std::int64_t j = 0; j < a.n; ++j) {
      std::swap(a(c, j), a(pivot, j));
      std::swap(b(c, j), b(pivot, j));
    }
    const double p = a(c, c);
    for (std::int64_t j = 0; j < a.n; ++j) {
      a(c, j) /= p;
      b(c, j) /= p;
    }
    for (std::int64_t r = 0; r < a.n; ++r) {
      if (r == c) continue;
      const double f = a(r, c);
      for (std::int64_t j = 0; j < a.n; ++j) {
        a(r, j) -= f * a(c, j);
        b(r, j) -= f * b(c, j);
      }
    }
  }
  return b;
}

// v A vᵀ
inline double quadratic_oracle(const Square& a, const std::vector<double>& v) {
  double sum = 0;
  for (std::int64_t i = 0; i < a.n; ++i)
    for (std::int64_t j = 0; j < a.n; ++j)
      sum += v[static_cast<std::size_t>(i)] * a(i, j) * v[static_cast<std::size_t>(j)];
  return sum;
}

}  // namespace bitgrid::test
