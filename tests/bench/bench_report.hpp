#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <string>
#include <vector>

#include "kernels/matrix.hpp"

namespace bitgrid::bench {

template <class Fn>
double seconds(Fn&& fn) {
  const auto begin = std::chrono::steady_clock::now();
  fn();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// Of all threads of this process so far: what other programs on the machine hardly change.
inline double cpu_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

struct Spread {
  double median = 0, least = 0, most = 0;
  double relative() const { return (most - least) / median; }
};
inline Spread spread_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return {values[values.size() / 2], values.front(), values.back()};
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

// The commit of the working copy, or "unknown".
inline std::string commit() {
  std::string hash = "unknown";
  const std::string command =
      std::string("git -C '") + BITGRID_SOURCE_DIR + "' rev-parse --short HEAD 2>/dev/null";
  if (FILE* pipe = popen(command.c_str(), "r")) {
    char text[64] = {};
    if (std::fgets(text, sizeof text, pipe) != nullptr)
      hash = std::string(text).substr(0, std::string(text).find('\n'));
    pclose(pipe);
  }
  return hash;
}

inline std::string processor() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);)
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  return "unknown";
}

}  // namespace bitgrid::bench
