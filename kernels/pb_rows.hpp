#pragma once

#include <cstdint>
#include <span>

#include "kernels/matrix.hpp"
#include "kernels/place.hpp"

namespace bitgrid {

// What becomes of a weight.
enum class PbKind : std::uint8_t { salient, binary, dead };

// What the rows of a PB-LLM solve (Shang et al. 2023) share.
struct PbColumns {
  MatrixView<const float> factor;  // U [in, in], UᵀU = H⁻¹; empty: no feedback, as if U = 1
  std::int64_t group = 128;        // columns per mean and deviation; a last group may be shorter
  int salient_bits = 8;            // 2 … 8
  std::int64_t block =
      128;  // columns between two updates of the rest; changes rounding errors only
};

// Means and deviations of the binary weights of each row and group, not rounded:
//   mean = Σ w/m,  deviation = Σ |w − mean|/m  over the m binary weights; without any, 0 and 0
//   diluted: as the reference code has it, with zeros for salient weights and over all columns
//   w [rows, in], kinds [rows, in] as PbKind    means, deviations [rows, groups]
void pb_parameters(const Place& place, std::int64_t group, bool diluted, MatrixView<const float> w,
                   MatrixView<const std::uint8_t> kinds, MatrixView<float> means,
                   MatrixView<float> deviations);

// GPTQ's column loop where a binary weight becomes mean + deviation·sgn(w − mean), sgn(0) = 1, a
// salient one a code on the row's grid, and a dead one 0.
//   w [rows, in], dead columns already zero    means, deviations [rows, groups]
//   scales, zeros [rows, 1]    codes [rows, in]: sign, or code    loss [rows]: ½Σe²
//   saturated [rows]: salient weights beyond the end of the grid
// Rows do not depend on each other.
struct PbRows {
  MatrixView<const float> w;
  MatrixView<const std::uint8_t> kinds;
  MatrixView<const float> means, deviations, scales;
  MatrixView<const std::uint8_t> zeros;
  MatrixView<std::uint8_t> codes;
  std::span<double> loss;
  std::span<std::int32_t> saturated;
};
void pb_rows(const Place& place, const PbColumns& columns, const PbRows& rows);

namespace cpu {
void pb_parameters(const Place& place, std::int64_t group, bool diluted, MatrixView<const float> w,
                   MatrixView<const std::uint8_t> kinds, MatrixView<float> means,
                   MatrixView<float> deviations);
void pb_rows(const Place& place, const PbColumns& columns, const PbRows& rows);
}  // namespace cpu
namespace cuda {
void pb_parameters(const Place& place, std::int64_t group, bool diluted, MatrixView<const float> w,
                   MatrixView<const std::uint8_t> kinds, MatrixView<float> means,
                   MatrixView<float> deviations);
void pb_rows(const Place& place, const PbColumns& columns, const PbRows& rows);
}  // namespace cuda

}  // namespace bitgrid
