#pragma once

#include <cstdint>
#include <random>

#include "kernels/matrix.hpp"

namespace bitgrid::test {

// Values that do not depend on the C++ library's distributions.
class Random {
 public:
  explicit Random(std::uint64_t seed) : engine_(seed) {}
  double uniform() { return static_cast<double>(engine_() >> 11) * 0x1p-53; }  // [0, 1)
  double between(double lo, double hi) { return lo + (hi - lo) * uniform(); }
  std::int64_t below(std::int64_t n) {
    return static_cast<std::int64_t>(engine_() % static_cast<std::uint64_t>(n));
  }
  // Roughly normal: the sum of twelve uniforms has variance 1.
  double normal() {
    double sum = -6;
    for (int i = 0; i < 12; ++i) sum += uniform();
    return sum;
  }
  Matrix<float> normals(std::int64_t rows, std::int64_t cols, double sigma = 1) {
    Matrix<float> m(rows, cols);
    for (std::int64_t i = 0; i < m.size(); ++i) m.data()[i] = static_cast<float>(sigma * normal());
    return m;
  }
  // Activations as they are: channels of very different size, correlated through a few directions.
  Matrix<float> activations(std::int64_t tokens, std::int64_t in) {
    const Matrix<float> directions = normals(4, in);
    Matrix<float> x(tokens, in);
    Matrix<float> size(1, in);
    for (std::int64_t j = 0; j < in; ++j)
      size(0, j) = static_cast<float>(j % 7 == 3 ? 3.0 : between(0.2, 1));
    for (std::int64_t t = 0; t < tokens; ++t) {
      double along[4];
      for (double& a : along) a = normal();
      for (std::int64_t j = 0; j < in; ++j) {
        double value = normal();
        for (int d = 0; d < 4; ++d) value += along[d] * static_cast<double>(directions(d, j));
        x(t, j) = static_cast<float>(value) * size(0, j);
      }
    }
    return x;
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace bitgrid::test
