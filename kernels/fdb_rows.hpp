#pragma once

#include <cstdint>
#include <span>

#include "kernels/matrix.hpp"
#include "kernels/place.hpp"

namespace bitgrid {

// Flexible dual binarization (Chen et al. 2024, sec. 3.1): two planes of bits with a scale each,
//   w ≈ α₁·b₁ + α₂·b₂,  code = 2·b₁ + b₂, levels {0, α₂, α₁, α₁ + α₂}.
// The value of a code; every user computes α₁ + α₂ as this one fp32 sum.
inline float fdb_value(std::uint8_t code, float alpha1, float alpha2) {
  const float levels[] = {0.0f, alpha2, alpha1, alpha1 + alpha2};
  return levels[code & 3];
}

// Where the scales of a group start: α₁ = 2s, α₂ = −s. search takes the best of ±f·max|w|/2, f =
// 0.20, 0.22 … 1.00 (the lower f, then the positive one, where errors are equal); absmax takes
// max|w|/2, range (max − min)/3. A negative s mirrors the levels.
enum class FdbStart { search, absmax, range };

// What the rows of a solve share.
struct FdbColumns {
  MatrixView<const float> factor;  // U [in, in], UᵀU = H⁻¹; empty: no feedback
  // [in] h ≥ 0: what an error in a column counts in search and scales; empty: all alike. Only
  // ratios inside a group matter; a group of zeros counts as all alike.
  std::span<const float> weights;
  std::int64_t group = 0;  // columns per group, divides in
  FdbStart start = FdbStart::search;
  int scale_steps = 20;   // at most: code, then the best scales for these codes
  bool scale_f16 = true;  // scales are rounded to fp16 before they are used
  bool fit = true;        // false: scales are given
};

// Rounds rows that know nothing of each other, column after column as gptq_rows. A code is the
// nearest level; among equals the one that comes first in (1,1), (0,1), (1,0), (0,0). Both scales
// of a group of zeros are 0 and so are its codes.
//   w [rows, in], columns without input already zero    scale1, scale2 [rows, in/group]
//   codes [rows, in]    loss [rows]: Σ e²/2
void fdb_rows(const Place& place, const FdbColumns& columns, MatrixView<const float> w,
              MatrixView<float> scale1, MatrixView<float> scale2, MatrixView<std::uint8_t> codes,
              std::span<double> loss);
namespace cpu {
void fdb_rows(const Place& place, const FdbColumns& columns, MatrixView<const float> w,
              MatrixView<float> scale1, MatrixView<float> scale2, MatrixView<std::uint8_t> codes,
              std::span<double> loss);
}
namespace cuda {
void fdb_rows(const Place& place, const FdbColumns& columns, MatrixView<const float> w,
              MatrixView<float> scale1, MatrixView<float> scale2, MatrixView<std::uint8_t> codes,
              std::span<double> loss);
}

}  // namespace bitgrid
