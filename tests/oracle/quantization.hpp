#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "tests/oracle/linear_algebra.hpp"

// The grid and GPTQ as the papers write them, in fp64 and without any of the program's code.
namespace bitgrid::test {

// To the nearest value with eleven significant bits, subnormals below 2^-14; ties to even.
inline double round_f16_oracle(double v) {
  if (v == 0) return 0;
  int exponent = 0;
  std::frexp(v, &exponent);
  const double unit = std::ldexp(1.0, std::max(exponent - 11, -24));
  return std::nearbyint(v / unit) * unit;
}

struct GridOracle {
  int bits = 4;
  bool symmetric = false;
  bool scale_f16 = true;
  bool minmax = false;
  double maxq() const { return std::ldexp(1.0, bits) - 1; }
};

struct ScaleZero {
  double scale = 0, zero = 0;
};

inline double clamp_oracle(double v, double lo, double hi) { return std::min(std::max(v, lo), hi); }

// The grid of the range of w, shrunk by p.
inline ScaleZero grid_oracle(const GridOracle& g, const std::vector<double>& w, double p = 1) {
  double lo = g.minmax ? w[0] : 0, hi = lo;
  for (const double v : w) {
    lo = std::min(lo, v);
    hi = std::max(hi, v);
  }
  if (!g.minmax && lo == 0 && hi == 0) {
    lo = -1;
    hi = 1;
  }
  if (g.symmetric) {
    hi = std::max(-lo, hi);
    lo = -hi;
  }
  ScaleZero out;
  out.scale = (p * hi - p * lo) / g.maxq();
  if (g.minmax && g.symmetric)
    out.scale = std::max(p * hi, 1e-5) / (std::ldexp(1.0, g.bits - 1) - 1);
  else if (g.minmax)
    out.scale = std::max(p * hi - p * lo, 1e-5) / g.maxq();
  if (g.scale_f16) {
    out.scale = round_f16_oracle(out.scale);
    if (out.scale == 0) out.scale = std::ldexp(1.0, -14);
  }
  out.zero = g.symmetric ? std::ldexp(1.0, g.bits - 1)
                         : clamp_oracle(std::nearbyint(-p * lo / out.scale), 0, g.maxq());
  return out;
}

inline double code_oracle(const GridOracle& g, double w, ScaleZero s) {
  return clamp_oracle(std::nearbyint(w / s.scale) + s.zero, 0, g.maxq());
}

inline double power_error_oracle(const GridOracle& g, const std::vector<double>& w, ScaleZero s) {
  double sum = 0;
  for (const double v : w)
    sum += std::pow(std::fabs(s.scale * (code_oracle(g, v, s) - s.zero) - v), 2.4);
  return sum;
}

// How a finished GPTQ row holds up against the textbook, step by step: at each position the fp64
// weight that the codes so far lead to must round to the code that was chosen. Rounding errors of
// fp32 then show up as a small excess and cannot send the two ways apart.
struct Replay {
  double excess_max =
      0;  // how far, in steps of the grid, a weight lies beyond half a step from its code
  double scale_error_max = 0;  // relative, of dynamic grids
  double loss = 0;             // ½·Σ e²
};

struct GptqOracle {
  GridOracle grid;
  Square h{0};                         // damped, by column
  std::vector<std::int64_t> order;     // position -> column
  std::vector<std::int64_t> group_of;  // by position
  std::int64_t dynamic_group = 0;      // 0: scales are given
  bool reinvert = false;  // invert the remaining block anew at each step, instead of eliminating
};

inline Square permuted(const Square& h, const std::vector<std::int64_t>& order) {
  Square out(h.n);
  for (std::int64_t i = 0; i < h.n; ++i)
    for (std::int64_t j = 0; j < h.n; ++j)
      out(i, j) = h(order[static_cast<std::size_t>(i)], order[static_cast<std::size_t>(j)]);
  return out;
}

// The inverse of the block of h that starts at position `from`, at its old indices.
inline Square block_inverse(const Square& h, std::int64_t from) {
  Square block(h.n - from);
  for (std::int64_t i = from; i < h.n; ++i)
    for (std::int64_t j = from; j < h.n; ++j) block(i - from, j - from) = h(i, j);
  const Square inverse = inverse_oracle(block);
  Square out(h.n);
  for (std::int64_t i = from; i < h.n; ++i)
    for (std::int64_t j = from; j < h.n; ++j) out(i, j) = inverse(i - from, j - from);
  return out;
}

// w: the row by column; codes by column; scales and zeros by group.
inline Replay replay_gptq(const GptqOracle& o, const std::vector<double>& w_by_column,
                          const std::vector<double>& codes, const std::vector<double>& scales,
                          const std::vector<double>& zeros) {
  Replay out;
  const std::int64_t n = o.h.n;
  const Square h = permuted(o.h, o.order);
  Square inverse = block_inverse(h, 0);
  std::vector<double> w;
  for (const std::int64_t column : o.order)
    w.push_back(w_by_column[static_cast<std::size_t>(column)]);
  for (std::int64_t i = 0; i < n; ++i) {
    const auto g = static_cast<std::size_t>(o.group_of[static_cast<std::size_t>(i)]);
    const ScaleZero s{scales[g], zeros[g]};
    if (o.dynamic_group > 0 && i % o.dynamic_group == 0) {
      const ScaleZero expected =
          grid_oracle(o.grid, std::vector<double>(w.begin() + i, w.begin() + i + o.dynamic_group));
      out.scale_error_max = std::max(out.scale_error_max, std::fabs(s.scale / expected.scale - 1));
      double lo = 0;
      for (std::int64_t j = i; j < i + o.dynamic_group; ++j)
        lo = std::min(lo, w[static_cast<std::size_t>(j)]);
      const double zero = o.grid.symmetric ? std::ldexp(1.0, o.grid.bits - 1)
                                           : clamp_oracle(-lo / s.scale, 0, o.grid.maxq());
      out.excess_max = std::max(out.excess_max, std::fabs(zero - s.zero) - 0.5);
    }
    const double code = codes[static_cast<std::size_t>(o.order[static_cast<std::size_t>(i)])];
    const double exact = w[static_cast<std::size_t>(i)] / s.scale;
    // Beyond the ends of the grid everything rounds to the last code.
    const double target = clamp_oracle(exact, -s.zero, o.grid.maxq() - s.zero);
    out.excess_max = std::max(out.excess_max, std::fabs(target - (code - s.zero)) - 0.5);
    const double error = w[static_cast<std::size_t>(i)] - s.scale * (code - s.zero);
    const double pivot = inverse(i, i);
    out.loss += 0.5 * error * error / pivot;
    for (std::int64_t j = i + 1; j < n; ++j)
      w[static_cast<std::size_t>(j)] -= error / pivot * inverse(i, j);
    if (i + 1 == n) break;
    if (o.reinvert) {
      inverse = block_inverse(h, i + 1);
      continue;
    }
    for (std::int64_t a = i + 1; a < n; ++a)
      for (std::int64_t b = i + 1; b < n; ++b)
        inverse(a, b) -= inverse(a, i) * inverse(i, b) / pivot;
  }
  return out;
}

}  // namespace bitgrid::test
