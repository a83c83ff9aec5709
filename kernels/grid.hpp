#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/dtype.hpp"

namespace bitgrid {

// The uniform integer grid that the weights of one group share: code u in 0 … maxq stands for s·(u
// − z).
//   asymmetric  s = (hi − lo)/maxq with lo = min(w, 0), hi = max(w, 0);  z = clamp(rne(−lo/s), 0,
//   maxq) symmetric   s = 2·max|w|/maxq;  z = 2^(bits−1)
//   symmetric, full_range  s = max(max|w|, 1e-5)/(2^(bits−1) − 1);  z = 2^(bits−1): the largest
//   weight is a code itself
// A group of zeros takes lo = −1, hi = 1, or ±1e-5 with full_range, so that every code is z and
// stands for exactly 0.
struct UniformGrid {
  int bits = 4;  // 2 … 8
  bool symmetric = false;
  bool full_range = false;  // of a symmetric grid
  bool mse = false;         // search the range: see kMseSteps
  bool scale_f16 = true;  // s is rounded to fp16 before anything is computed with it, since that is
                          // what is stored
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

inline constexpr float kFullRangeMin = 1e-5f;  // the smallest max|w| of a full_range grid
inline constexpr float kF16SmallestNormal = 0x1p-14f;

// The scale as stored. What rounds to zero becomes the smallest normal fp16; what overflows becomes
// infinite, for the caller to find.
inline float stored_scale(const UniformGrid& grid, float s) {
  if (!grid.scale_f16) return s;
  const float rounded = f16_to_f32(f32_to_f16(s));
  return rounded == 0.0f ? kF16SmallestNormal : rounded;
}

}  // namespace bitgrid
