#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "tests/oracle/linear_algebra.hpp"

// Binary weights as the papers write them, in fp64 and without any of the program's code.
namespace bitgrid::test {

using Values = std::vector<double>;

// What remains of one row's values after binarizing those that belong to a set `order` times:
// mean + mean|w − mean|·sgn(w − mean), sgn(0) = 1. Others become 0.
inline Values binarized_oracle(const Values& w, const std::vector<bool>& in_set, int order,
                               bool with_mean = true) {
  Values rest = w, q(w.size(), 0.0);
  for (int pass = 0; pass < order; ++pass) {
    double count = 0, sum = 0, distance = 0;
    for (std::size_t j = 0; j < w.size(); ++j)
      if (in_set[j]) {
        sum += rest[j];
        ++count;
      }
    const double mean = count > 0 && with_mean ? sum / count : 0;
    for (std::size_t j = 0; j < w.size(); ++j)
      if (in_set[j]) distance += std::fabs(rest[j] - mean);
    const double deviation = count > 0 ? distance / count : 0;
    for (std::size_t j = 0; j < w.size(); ++j)
      if (in_set[j]) {
        const double value = mean + (rest[j] - mean >= 0 ? deviation : -deviation);
        q[j] += value;
        rest[j] -= value;
      }
  }
  return q;
}

// U upper triangular with a positive diagonal, UᵀU = H⁻¹.
inline Square inverse_factor_oracle(const Square& h) {
  const Square inverse = inverse_oracle(h);
  Square u(h.n);
  for (std::int64_t i = 0; i < h.n; ++i)
    for (std::int64_t j = i; j < h.n; ++j) {
      double sum = inverse(i, j);
      for (std::int64_t p = 0; p < i; ++p) sum -= u(p, i) * u(p, j);
      u(i, j) = i == j ? std::sqrt(sum) : sum / u(i, i);
    }
  return u;
}

// S + damping·mean(S_jj)
inline Square damped(const Square& s, double damping) {
  Square h = s;
  double mean = 0;
  for (std::int64_t j = 0; j < s.n; ++j) mean += s(j, j) / static_cast<double>(s.n);
  for (std::int64_t j = 0; j < s.n; ++j) h(j, j) += damping * mean;
  return h;
}

// A layer with 3 rows, 16 columns and 48 tokens that binary methods are checked on.
struct ToyLayer {
  ToyLayer() : x(48, 16), w(3, 16), h(16), u(16), u_f32(16, 16) {
    for (std::int64_t t = 0; t < 48; ++t)
      for (std::int64_t j = 0; j < 16; ++j)
        x(t, j) =
            static_cast<float>(static_cast<double>((t * t + 3 * t * j + 2 * j * j) % 23 - 11) *
                               std::ldexp(1.0, static_cast<int>(j / 4)) / 32);
    for (std::int64_t r = 0; r < 3; ++r)
      for (std::int64_t j = 0; j < 16; ++j)
        w(r, j) = static_cast<float>(
            static_cast<double>((37 * (r + 2) * (j + 1) * (j + 1) + 57 * j + 101 * r) % 997 - 498) /
            500);
    h = damped(gram_oracle(x.view()), 0.01);
    u = inverse_factor_oracle(h);
    for (std::int64_t i = 0; i < 16; ++i)
      for (std::int64_t j = 0; j < 16; ++j) u_f32(i, j) = static_cast<float>(u(i, j));
  }

  // ½ tr(ΔHΔᵀ)
  double loss(MatrixView<const float> off) const {
    double sum = 0;
    for (std::int64_t r = 0; r < off.rows; ++r)
      sum += 0.5 * quadratic_oracle(h, {off.row(r), off.row(r) + off.cols});
    return sum;
  }

  Matrix<float> x, w;
  Square h, u;
  Matrix<float> u_f32;
};

}  // namespace bitgrid::test
