#pragma once

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

namespace bitgrid::bench {

template <class Fn>
double seconds(Fn&& fn) {
  const auto begin = std::chrono::steady_clock::now();
  fn();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

struct Spread {
  double median = 0, least = 0, most = 0;
};
inline Spread spread_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return {values[values.size() / 2], values.front(), values.back()};
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
