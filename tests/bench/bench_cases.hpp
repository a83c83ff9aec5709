#pragma once

#include <cstdint>
#include <fstream>
#include <string>

#include "kernels/error.hpp"
#include "kernels/matrix.hpp"
#include "tests/bench/bench_report.hpp"

namespace bitgrid::bench {

// Inputs of a linear [tokens, in]: neighbouring channels are correlated, runs of them differ in
// size, and one in 61 is an outlier.
inline Matrix<float> correlated_inputs(std::int64_t tokens, std::int64_t in,
                                       std::uint64_t seed = 1) {
  Matrix<float> x = random_matrix(tokens, in, 1.0f, seed);
  for (std::int64_t t = 0; t < tokens; ++t)
    for (std::int64_t j = 1; j < in; ++j)
      x(t, j) = (0.5f * x(t, j - 1) + x(t, j)) * (j % 61 == 0 ? 2.0f : 1.0f);
  for (std::int64_t t = 0; t < tokens; ++t)
    for (std::int64_t j = 0; j < in; ++j) x(t, j) *= 0.25f + 0.25f * static_cast<float>(j / 96 % 9);
  return x;
}

// Roughly bell-shaped weights [out, in]: sums of five uniform values.
inline Matrix<float> bell_weights(std::int64_t out, std::int64_t in, std::uint64_t seed = 1) {
  Matrix<float> w = random_matrix(out, in, 0.02f, 5 * seed);
  for (std::uint64_t i = 1; i < 5; ++i) {
    const Matrix<float> more = random_matrix(out, in, 0.02f, 5 * seed + i);
    for (std::int64_t k = 0; k < w.size(); ++k) w.data()[k] += more.data()[k];
  }
  return w;
}

// NumPy's format 1.0: a text header, padded to 64 bytes, then the rows.
inline void write_npy(const std::string& path, const Matrix<float>& m) {
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (" +
                       std::to_string(m.rows()) + ", " + std::to_string(m.cols()) + "), }";
  header.resize((10 + header.size() + 1 + 63) / 64 * 64 - 11, ' ');
  header += '\n';
  std::ofstream out(path, std::ios::binary);
  out << std::string("\x93NUMPY\x01\x00", 8) << static_cast<char>(header.size() & 255)
      << static_cast<char>(header.size() >> 8) << header;
  out.write(reinterpret_cast<const char*>(m.data()),
            static_cast<std::streamsize>(m.size() * static_cast<std::int64_t>(sizeof(float))));
  if (!out) throw Error("cannot write " + path);
}

}  // namespace bitgrid::bench
