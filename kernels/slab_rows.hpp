#pragma once

#include <cstdint>
#include <span>

#include "kernels/matrix.hpp"
#include "kernels/place.hpp"

namespace bitgrid {

// How the range of a (row, slab) grid of two bits and more is found: the whole range, or the best
// of some factors of it by Σ|deq(w) − w|^2.4 or by Σ(deq(w) − w)²/U_jj².
enum class SlabSearch { none, power, hessian };

// GPTQ's column loop with a bit width per slab: a group of columns on all rows (SliM-LLM, Huang et
// al. 2024). Slabs of two bits and more have the asymmetric grid of grid.hpp; a slab of one bit has
// the values μ − α (code 0) and μ + α (code 1), μ = mean(w), α = mean|w − μ| of a row.
struct SlabColumns {
  MatrixView<const float> factor;        // U [in, in], UᵀU = H⁻¹; empty: no feedback
  std::span<const std::uint8_t> widths;  // [in/group] bits, 1 … 8
  std::int64_t group = 0;                // columns per slab, divides in
  SlabSearch search = SlabSearch::power;
  std::span<const float> factors;  // of the range, tried in order; the first best wins
  // What the power of an element's error counts, [rows, in]; empty: all alike.
  MatrixView<const float> element_weights;
  // [in]: columns without input, not 0: in slabs of one bit they are left out of both means and
  // stand for 0. Empty: none.
  std::span<const std::uint8_t> dead;
  bool scale_f16 = true;  // scales and means are rounded to fp16 before they are used
};

//   w [rows, in], dead columns already zero    codes [rows, in]    loss [rows]: Σ e²/2
//   scale [rows, slabs]: scale or α    zero [rows, slabs]: zero or μ
void slab_rows(const Place& place, const SlabColumns& columns, MatrixView<const float> w,
               MatrixView<float> scale, MatrixView<float> zero, MatrixView<std::uint8_t> codes,
               std::span<double> loss);

// The value of a code in a slab of `width` bits.
inline float slab_value(int width, std::uint8_t code, float scale, float zero) {
  if (width > 1) return scale * (static_cast<float>(code) - zero);
  return code != 0 ? zero + scale : zero - scale;
}

namespace cpu {
void slab_rows(const Place& place, const SlabColumns& columns, MatrixView<const float> w,
               MatrixView<float> scale, MatrixView<float> zero, MatrixView<std::uint8_t> codes,
               std::span<double> loss);
}
namespace cuda {
void slab_rows(const Place& place, const SlabColumns& columns, MatrixView<const float> w,
               MatrixView<float> scale, MatrixView<float> zero, MatrixView<std::uint8_t> codes,
               std::span<double> loss);
}

}  // namespace bitgrid
