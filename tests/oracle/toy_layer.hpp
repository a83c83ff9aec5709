#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/inverse_factor.hpp"
#include "kernels/matrix.hpp"
#include "tests/oracle/linear_algebra.hpp"

namespace bitgrid::test {

// A layer of 3 x 16 weights and 48 tokens by formula, with H = S + λI, λ = 1 % of the mean
// diagonal.
struct ToyLayer {
  ToyLayer() : x(48, 16), w(3, 16), h(16), u(16, 16) {
    for (std::int64_t t = 0; t < 48; ++t)
      for (std::int64_t j = 0; j < 16; ++j)
        x(t, j) = static_cast<float>((t * t + 3 * t * j + 2 * j * j) % 23 - 11) *
                  static_cast<float>(1 << j / 4) / 32;
    for (std::int64_t r = 0; r < 3; ++r)
      for (std::int64_t j = 0; j < 16; ++j)
        w(r, j) = static_cast<float>(
            static_cast<double>((37 * (r + 2) * (j + 1) * (j + 1) + 57 * j + 101 * r) % 997 - 498) /
            500);
    h = gram_oracle(x.view());
    gram = narrowed(to_lower(h));
    for (std::int64_t j = 0; j < 16; ++j) damping += 0.01 * h(j, j) / 16;
    std::vector<double> diagonal;
    Matrix<double> lower(16, 16);
    for (std::int64_t i = 0; i < 16; ++i) {
      for (std::int64_t j = 0; j < 16; ++j) lower(i, j) = h(i, j);
      h(i, i) += damping;
      diagonal.push_back(h(i, i));
    }
    inverse_factor(cpu_place(1), {lower.view(), 1, diagonal, {}}, u.view());
  }
  // ½·(w − q)H(w − q)ᵀ over all rows.
  double loss(MatrixView<const float> q) const {
    double sum = 0;
    for (std::int64_t r = 0; r < 3; ++r) {
      std::vector<double> off;
      for (std::int64_t j = 0; j < 16; ++j)
        off.push_back(static_cast<double>(w(r, j)) - static_cast<double>(q(r, j)));
      sum += 0.5 * quadratic_oracle(h, off);
    }
    return sum;
  }
  std::vector<float> energy() const {  // S_jj
    std::vector<float> values;
    for (std::int64_t j = 0; j < 16; ++j) values.push_back(gram(j, j));
    return values;
  }

  Matrix<float> x, w;  // [48, 16], [3, 16]
  Square h;            // damped
  Matrix<float> u;     // UᵀU = H⁻¹
  Matrix<float> gram;  // S, lower triangle
  double damping = 0;
};

}  // namespace bitgrid::test
