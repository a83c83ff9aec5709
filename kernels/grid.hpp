#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/dtype.hpp"

namespace bitgrid {

// The uniform integer grid that the weights of one group share: code u in 0 … maxq stands for
// s·(u − z).
//   asymmetric  s = (hi − lo)/maxq with lo = min(w, 0), hi = max(w, 0)
//               z = clamp(rne(−lo/s), 0, maxq)
//   symmetric   s = 2·max|w|/maxq;  z = 2^(bits−1)
// A group of zeros takes lo = −1, hi = 1, so that every code is z and stands for exactly 0.
// With `minmax` the range need not hold 0, and a floor takes the place of that exception:
//   asymmetric  s = max(max w − min w, kMinmaxFloor)/maxq;  z as above: the far end of a one-sided
//               group saturates
//   symmetric   s = max(max|w|, kMinmaxFloor)/(2^(bits−1) − 1);  z = 2^(bits−1)
struct UniformGrid {
  int bits = 4;  // 2 … 8
  bool symmetric = false;
  bool mse = false;       // search the range: see kMseSteps
  bool scale_f16 = true;  // s is rounded to fp16 before anything is computed with it, since that is
                          // what is stored
  bool minmax = false;    // as AWQ's authors have it
  bool operator==(const UniformGrid&) const = default;

  float maxq() const { return static_cast<float>((1 << bits) - 1); }
  float symmetric_zero() const { return static_cast<float>(1 << (bits - 1)); }
};

inline constexpr float kMinmaxFloor = 1e-5f;

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
  if (!grid.minmax) {
    lo = lo < 0.0f ? lo : 0.0f;
    hi = hi > 0.0f ? hi : 0.0f;
    const bool zeros = lo == 0.0f && hi == 0.0f;
    lo = zeros ? -1.0f : lo;
    hi = zeros ? 1.0f : hi;
  }
  const float a = -lo > hi ? -lo : hi;
  lo = grid.symmetric ? -a : lo;
  hi = grid.symmetric ? a : hi;
}

// Scale and zero of such a range.
inline void fit_range(const UniformGrid& grid, float lo, float hi, float& scale, float& zero) {
  const float maxq = grid.maxq();
  const float wide = grid.symmetric && grid.minmax ? hi : hi - lo;
  const float floored = grid.minmax && wide < kMinmaxFloor ? kMinmaxFloor : wide;
  scale = stored_scale(
      grid, floored / (grid.symmetric && grid.minmax ? grid.symmetric_zero() - 1 : maxq));
  zero = grid.symmetric ? grid.symmetric_zero() : grid_code(-lo, scale, 0.0f, maxq);
}

}  // namespace bitgrid
