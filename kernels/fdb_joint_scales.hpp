#pragma once

#include <cstdint>
#include <span>

#include "kernels/matrix.hpp"
#include "kernels/place.hpp"

namespace bitgrid {

// The objective ½·(w − q)(scale·S + damping·I)(w − q)ᵀ of a row.
struct FdbObjective {
  MatrixView<const float> gram;  // S [in, in], lower triangle
  double scale = 1;
  double damping = 0;
  std::int64_t group = 0;  // columns per group, divides in
  bool scale_f16 = true;   // scales are rounded to fp16 before they are judged
};

// The objective of every row for these codes and scales.
//   w [rows, in]    scale1, scale2 [rows, in/group]    codes [rows, in], see fdb_rows.hpp    loss
//   [rows]
void fdb_row_losses(const Place& place, const FdbObjective& objective, MatrixView<const float> w,
                    MatrixView<const float> scale1, MatrixView<const float> scale2,
                    MatrixView<const std::uint8_t> codes, std::span<double> loss);

// With codes fixed, q is linear in all scales of a row, and the objective quadratic: solves for all
// of them together, (BᵀHB + 1e-8·mean diagonal·I)·α = BᵀHw, B [in, 2·groups] the planes. A row
// takes its new scales where they make its objective smaller, and keeps its old ones elsewhere.
// loss [rows]: the objective afterwards. 8 B x (2·groups)² per row at work; rows are cut into tiles
// of kFdbJointTileRows from row 0 on.
inline constexpr std::int64_t kFdbJointTileRows = 16;
void fdb_joint_scales(const Place& place, const FdbObjective& objective, MatrixView<const float> w,
                      MatrixView<const std::uint8_t> codes, MatrixView<float> scale1,
                      MatrixView<float> scale2, std::span<double> loss);

namespace cpu {
void fdb_row_losses(const Place& place, const FdbObjective& objective, MatrixView<const float> w,
                    MatrixView<const float> scale1, MatrixView<const float> scale2,
                    MatrixView<const std::uint8_t> codes, std::span<double> loss);
void fdb_joint_scales(const Place& place, const FdbObjective& objective, MatrixView<const float> w,
                      MatrixView<const std::uint8_t> codes, MatrixView<float> scale1,
                      MatrixView<float> scale2, std::span<double> loss);
}  // namespace cpu
namespace cuda {
void fdb_row_losses(const Place& place, const FdbObjective& objective, MatrixView<const float> w,
                    MatrixView<const float> scale1, MatrixView<const float> scale2,
                    MatrixView<const std::uint8_t> codes, std::span<double> loss);
void fdb_joint_scales(const Place& place, const FdbObjective& objective, MatrixView<const float> w,
                      MatrixView<const std::uint8_t> codes, MatrixView<float> scale1,
                      MatrixView<float> scale2, std::span<double> loss);
}  // namespace cuda

}  // namespace bitgrid
