#pragma once

#include <cstdint>
#include <span>

#include "kernels/grid.hpp"
#include "kernels/matrix.hpp"
#include "kernels/place.hpp"

namespace bitgrid {

// What the rows of a GPTQ solve share. A position is a place in the order in which columns are
// rounded.
struct GptqColumns {
  UniformGrid grid;
  MatrixView<const float> factor;       // U [in, in], upper triangular, by position; UᵀU = H⁻¹
  std::span<const std::int32_t> order;  // position -> column; empty: identity
  std::span<const std::int32_t> group_of;  // position -> group, a column of scales and zeros
  // 0: scales and zeros are given. g: every g positions a group starts, and its grid is taken from
  // its columns as they are then, earlier errors already fed back.
  std::int64_t dynamic_group = 0;
  // Take a dynamic group's range without the feedback of the block that is being worked on, as the
  // reference code does.
  bool stale_range = false;
  std::int64_t block =
      128;  // columns between two updates of the rest; changes rounding errors only
};

// GPTQ's column loop (Frantar et al. 2023, algorithm 1) on rows that know nothing of each other:
//   for each position i: code u_i, value q_i; e = (w_i − q_i)/U_ii; w_j −= e·U_ij for j > i; loss
//   += e²/2 w [rows, in], columns without input already zero    codes [rows, in], in column order
//   scales, zeros [rows, groups]: read (fixed grids) or written (dynamic)    loss [rows]
// A row's result does not depend on the other rows, as long as rows keep their places within tiles
// of kGptqTileRows.
inline constexpr std::int64_t kGptqTileRows = 128;
void gptq_rows(const Place& place, const GptqColumns& columns, MatrixView<const float> w,
               MatrixView<float> scales, MatrixView<std::uint8_t> zeros,
               MatrixView<std::uint8_t> codes, std::span<double> loss);
namespace cpu {
void gptq_rows(const Place& place, const GptqColumns& columns, MatrixView<const float> w,
               MatrixView<float> scales, MatrixView<std::uint8_t> zeros,
               MatrixView<std::uint8_t> codes, std::span<double> loss);
}
namespace cuda {
void gptq_rows(const Place& place, const GptqColumns& columns, MatrixView<const float> w,
               MatrixView<float> scales, MatrixView<std::uint8_t> zeros,
               MatrixView<std::uint8_t> codes, std::span<double> loss);
}

// The end of the block that starts at `first`. A dynamic group must not start inside a block and
// reach past its end, since the columns behind the end still lack the block's feedback: the block
// ends where such a group starts.
std::int64_t gptq_block_end(const GptqColumns& columns, std::int64_t in, std::int64_t first);

}  // namespace bitgrid
