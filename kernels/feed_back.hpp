#pragma once

#include <cstdint>

#include "kernels/grid_lanes.hpp"

namespace bitgrid::cpu {

// The heart of column loops on kLanes rows side by side; columns are `stride` floats apart:
//   w[l] −= Σ_p e[p][l]·u[p] for p in [first, last), one after the other: cutting the range changes
// no bit.
template <std::int64_t stride>
[[gnu::always_inline]] inline void feed_back(const float* e, const float* u, std::int64_t first,
                                             std::int64_t last, float* w) {
  std::int64_t p = first;
  for (; p + 4 <= last; p += 4) {
    const float* e0 = e + p * stride;
    const float *e1 = e0 + stride, *e2 = e1 + stride, *e3 = e2 + stride;
    for (int l = 0; l < kLanes; ++l)
      w[l] = (((w[l] - e0[l] * u[p]) - e1[l] * u[p + 1]) - e2[l] * u[p + 2]) - e3[l] * u[p + 3];
  }
  for (; p < last; ++p)
    for (int l = 0; l < kLanes; ++l) w[l] -= e[p * stride + l] * u[p];
}

}  // namespace bitgrid::cpu
