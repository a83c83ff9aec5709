#pragma once

#include <bit>
#include <cstdint>
#include <limits>

namespace bitgrid {

// Pieces of row operations, for plain loops inside a BITGRID_MULTIVERSION function: everything here
// is inlined there and vectorized for that function's instruction set.

// Reductions keep this many partial results, so that they vectorize without leave to reorder: lane
// l takes elements l, l + 16, …; the lanes are combined in a fixed order.
constexpr int kLanes = 16;

// eˣ in fp32, within 2 units in the last place (subnormal results within 1 unit of 2^-149);
// exp(-inf) = 0, overflow gives infinity, a NaN stays a NaN. No branch, no table.
//   x = n ln2 + r, |r| <= ln2 / 2:  eˣ = 2ⁿ (1 + r + r²/2! + … + r⁷/7!); the next term is below
//   2^-27.
[[gnu::always_inline]] inline float exp_f32(float x) {
  constexpr float round_to_int = 0x1.8p23f;  // adding it leaves the nearest integer in the low bits
  constexpr float log2_e = 0x1.715476p+0f;
  constexpr float ln2_high = 0x1.62e4p-1f;  // 15 bits: n * ln2_high is exact
  constexpr float ln2_low = 0x1.7f7d1cp-20f;
  x = x < -105.0f ? -105.0f : x;  // below every subnormal; a NaN passes both comparisons
  x = x > 89.0f ? 89.0f : x;      // above the largest finite number
  const float shifted = x * log2_e + round_to_int;
  const float n = shifted - round_to_int;
  const float r = (x - n * ln2_high) - n * ln2_low;
  float tail = 1.0f / 5040;
  tail = tail * r + 1.0f / 720;
  tail = tail * r + 1.0f / 120;
  tail = tail * r + 1.0f / 24;
  tail = tail * r + 1.0f / 6;
  tail = tail * r + 0.5f;
  const float mantissa = 1.0f + (r + (r * r) * tail);
  // 2ⁿ in two factors: n reaches from -151 to 128, beyond the exponents of one fp32.
  const auto exponent =
      std::bit_cast<std::int32_t>(shifted) - std::bit_cast<std::int32_t>(round_to_int);
  const std::int32_t half = exponent >> 1;
  const auto power = [](std::int32_t e) { return std::bit_cast<float>((e + 127) << 23); };
  return mantissa * power(half) * power(exponent - half);
}

// The largest element; NaNs are passed over; -inf for n = 0.
[[gnu::always_inline]] inline float max_of(const float* x, std::int64_t n) {
  constexpr float lowest = -std::numeric_limits<float>::infinity();
  float lanes[kLanes];
  for (float& lane : lanes) lane = lowest;
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int l = 0; l < kLanes; ++l) lanes[l] = x[i + l] > lanes[l] ? x[i + l] : lanes[l];
  float top = lowest;
  for (; i < n; ++i) top = x[i] > top ? x[i] : top;
  for (const float lane : lanes) top = lane > top ? lane : top;
  return top;
}

// Adds the lanes pairwise.
[[gnu::always_inline]] inline float sum_lanes(float (&lanes)[kLanes]) {
  for (int width = kLanes / 2; width > 0; width /= 2)
    for (int l = 0; l < width; ++l) lanes[l] += lanes[l + width];
  return lanes[0];
}

// Σ x in fp32.
[[gnu::always_inline]] inline float sum_of(const float* x, std::int64_t n) {
  float lanes[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int l = 0; l < kLanes; ++l) lanes[l] += x[i + l];
  float rest = 0;
  for (; i < n; ++i) rest += x[i];
  return sum_lanes(lanes) + rest;
}

}  // namespace bitgrid
