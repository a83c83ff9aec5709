#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "kernels/gptq_rows.hpp"
#include "kernels/grid_lanes.hpp"
#include "kernels/matrix.hpp"

namespace bitgrid::cpu {

// Consecutive columns of a transposed tile are this many values apart.
inline constexpr std::int64_t kTileStride = kGptqTileRows;
static_assert(kTileStride % kLanes == 0);

// kLanes rows of a block of columns that are being rounded one after the other. Pointers are to the
// first lane, consecutive columns are kTileStride values apart.
struct FeedbackLanes {
  std::int64_t begin = 0;        // the block's first column
  float* w = nullptr;            // column 0 of the block
  float* e = nullptr;            // errors by column of the block
  std::uint8_t* code = nullptr;  // codes by column of the block
  double* loss = nullptr;        // kLanes values
  // u[j·block + p] = U[block start + p, block start + j]; null: no feedback, U = I.
  const float* factor_columns = nullptr;
  std::int64_t block = 0;
};

// w[l] −= Σ_p e[p][l]·u[p] for p in [first, last), one after the other: cutting the range changes
// no bit. For BITGRID_MULTIVERSION functions, which inline it.
[[gnu::always_inline]] inline void feed_back_lanes(const float* e, const float* u,
                                                   std::int64_t first, std::int64_t last,
                                                   float* w) {
  std::int64_t p = first;
  for (; p + 4 <= last; p += 4) {
    const float* e0 = e + p * kTileStride;
    const float *e1 = e0 + kTileStride, *e2 = e1 + kTileStride, *e3 = e2 + kTileStride;
    for (int l = 0; l < kLanes; ++l)
      w[l] = (((w[l] - e0[l] * u[p]) - e1[l] * u[p + 1]) - e2[l] * u[p + 2]) - e3[l] * u[p + 3];
  }
  for (; p < last; ++p)
    for (int l = 0; l < kLanes; ++l) w[l] -= e[p * kTileStride + l] * u[p];
}

// GPTQ's column loop over groups of `group` columns in natural order, for grids of any kind, on up
// to kTileStride rows. Lanes without a row are zero weights.
class FeedbackTile {
 public:
  // Makes the grid of a group from its columns as they are when the loop arrives, all earlier
  // errors fed back: w is the first lane's first column.
  using Fit = std::function<void(std::int64_t group, std::int64_t lane, const float* w)>;
  // Rounds the block's columns [first, last), all of one group; they have been fed the errors of
  // the block's columns [0, fed). Column j has u = factor_columns + j·block:
  //   feed_back_lanes(e, u, fed, j, w_j); code_j and value q_j; e_j = (w_j − q_j)/u[j];
  //   loss += e_j²/2
  using Round =
      std::function<void(const FeedbackLanes& block, std::int64_t group, std::int64_t lane,
                         std::int64_t fed, std::int64_t first, std::int64_t last)>;

  // factor: U [in, in], or empty for no feedback    w [rows, in], group divides in
  FeedbackTile(MatrixView<const float> factor, std::int64_t group, MatrixView<const float> w);
  void solve(const Fit& fit, const Round& round);
  void store_codes(MatrixView<std::uint8_t> codes) const;
  double loss(std::int64_t row) const { return loss_[static_cast<std::size_t>(row)]; }

 private:
  std::int64_t block_end(std::int64_t begin) const;
  void solve_block(std::int64_t begin, std::int64_t end, const Fit& fit, const Round& round);
  void solve_lanes(std::int64_t begin, std::int64_t end, std::int64_t lane, const Fit& fit,
                   const Round& round);

  MatrixView<const float> factor_;
  std::int64_t in_, rows_, group_, block_;
  Matrix<float> w_;               // [in, kTileStride]
  Matrix<std::uint8_t> code_;     // [in, kTileStride]
  Matrix<float> error_;           // [block, kTileStride]
  Matrix<float> factor_columns_;  // [block, block], transposed diagonal block of U
  std::vector<double> loss_;      // [kTileStride]
};

}  // namespace bitgrid::cpu
