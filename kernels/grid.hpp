#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/dtype.hpp"

namespace bitgrid {

// The uniform integer grid that the weights of one group share: code u in 0 … maxq stands for
// s·(u − z).
//   asymmetric  s = (hi − lo)/maxq with lo = min(w, 0), hi = max(w, 0);  z = clamp(rne(−lo/s), 0,
//   maxq) symmetric   s = 2·max|w|/maxq;  z = 2^(bits−1)
//   symmetric, full_range  s = max(max|w|, 1e-5)/(2^(bits−1) − 1);  z = 2^(bits−1): the largest
//   weight is a code itself
// A group of zeros takes lo = −1, hi = 1, or ±1e-5 with full_range, so that every code is z and
// stands for exactly 0.
// With `minmax` (asymmetric grids) the range need not hold 0, and a floor takes the place of that
// exception:
//   s = max(max w − min w, 1e-5)/maxq;  z as above: the far end of a one-sided group saturates
struct UniformGrid {
  int bits = 4;  // 2 … 8
  bool symmetric = false;
  bool full_range = false;  // of a symmetric grid
  bool mse = false;         // search the range: see kMseSteps
  bool scale_f16 = true;  // s is rounded to fp16 before anything is computed with it, since that is
                          // what is stored
  bool minmax = false;    // of an asymmetric grid, as AWQ's authors have it
  bool operator==(const UniformGrid&) const = default;

  float maxq() const { return static_cast<float>((1 << bits) - 1); }
  float full_range_max() const { return static_cast<float>((1 << (bits - 1)) - 1); }
  float symmetric_zero() const { return static_cast<float>(1 << (bits - 1)); }
};

// Range search: the range is shrunk to p·lo, p·hi for p = 1 − i/kMseGrid, i = 0 … kMseSteps − 1;
// the first p with the smallest Σ|deq(w) − w|^2.4 wins.
inline constexpr int kMseSteps = 80;
inline constexpr int kMseGrid = 100;

// Round half to even, in the default rounding mode.
inline float rne(float v) { return std::rint(v); }

// A true division: multiplying by 1/s would move ties.
inline float grid_code(float w, float s, float z, float maxq) {
  const float u = rne(w / s) + z;
  const float lower = u < 0.0f ? 0.0f : u;
  return lower > maxq ? maxq : lower;
}

inline float grid_value(float u, float s, float z) { return s * (u - z); }

// The smallest range of grids that do not treat a group of zeros apart.
inline constexpr float kRangeFloor = 1e-5f;
inline constexpr float kF16SmallestNormal = 0x1p-14f;

// The scale as stored. What rounds to zero becomes the smallest normal fp16; what overflows becomes
// infinite, for the caller to find.
inline float stored_scale(const UniformGrid& grid, float s) {
  const float rounded = rounded_to_f16(s);
  const float kept = rounded == 0.0f ? kF16SmallestNormal : rounded;
  return grid.scale_f16 ? kept : s;
}

// The range [lo, hi] of a group whose weights lie between lo and hi.
inline void widen_range(const UniformGrid& grid, float& lo, float& hi) {
  const float empty = grid.full_range ? kRangeFloor : 1.0f;
  if (!grid.minmax) {
    lo = lo < 0.0f ? lo : 0.0f;
    hi = hi > 0.0f ? hi : 0.0f;
    const bool zeros = lo == 0.0f && hi == 0.0f;
    lo = zeros ? -empty : lo;
    hi = zeros ? empty : hi;
  }
  const float a = -lo > hi ? -lo : hi;
  lo = grid.symmetric ? -a : lo;
  hi = grid.symmetric ? a : hi;
}

// Scale and zero of such a range.
inline void fit_range(const UniformGrid& grid, float lo, float hi, float& scale, float& zero) {
  const float maxq = grid.maxq();
  const bool full = grid.symmetric && grid.full_range;
  const float wide = full ? hi : hi - lo;
  const bool floored = full || (grid.minmax && !grid.symmetric);
  scale = stored_scale(grid, (floored && wide < kRangeFloor ? kRangeFloor : wide) /
                                 (full ? grid.full_range_max() : maxq));
  zero = grid.symmetric ? grid.symmetric_zero() : grid_code(-lo, scale, 0.0f, maxq);
}

}  // namespace bitgrid
