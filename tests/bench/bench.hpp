#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <vector>

#include "kernels/matrix.hpp"

namespace bitgrid::bench {

inline double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Timing {
  double median_s = 0;
  double spread = 0;  // (slowest − fastest) / median
};

inline Timing summarize(std::vector<double> times) {
  std::sort(times.begin(), times.end());
  const double median = times[times.size() / 2];
  return {median, (times.back() - times.front()) / median};
}

template <class Fn>
double seconds_of(Fn&& fn) {
  const double start = seconds_now();
  fn();
  return seconds_now() - start;
}

// Fast pseudo-random values in [-scale, scale): a 64-bit linear congruence, its upper bits.
inline Matrix<float> random_matrix(std::int64_t rows, std::int64_t cols, float scale,
                                   std::uint64_t seed) {
  Matrix<float> m(rows, cols);
  std::uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;
  for (std::int64_t i = 0; i < m.size(); ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    m.data()[i] = scale * (static_cast<float>(state >> 40) * 0x1p-23f - 1.0f);
  }
  return m;
}

}  // namespace bitgrid::bench
