#pragma once

#include <cstdint>

namespace bitgrid::test {

// Unit roundoffs: the largest relative error of one rounding.
inline constexpr double kRoundF32 = 0x1p-24;
inline constexpr double kRoundF16 = 0x1p-11;

// A sum of n products in fp32 is off by at most n·u·Σ|a·b| in any order (Higham 2002, sec. 3.1), to
// first order; the factor 2 covers higher orders and the rounding of the inputs.
inline double dot_tolerance(std::int64_t n, double sum_of_magnitudes) {
  return 2.0 * static_cast<double>(n) * kRoundF32 * sum_of_magnitudes;
}

}  // namespace bitgrid::test
