#pragma once

#include <cstdint>
#include <span>

#include "core/methods/incoherence.hpp"
#include "core/methods/method.hpp"

namespace bitgrid {

// Format "incoherent": a rounded rotated weight and what turns it back.
//   w = Uᵀ·(delta·(codes − (2^bits − 1)/2))·V·diag(1/column_scales), all products in fp32
//   "codes"          [rows, cols] packed, columns as V leaves them
//   "delta"          [1] f32; 0: every weight is zero
//   "seeds"          [4] i32: of U, low word and high word, and of V
//   "column_scales"  [1, cols] f16; 0: no input, the column's weights are zero. Absent: all 1.
//                    Stored with each of the linears that share it, counted with the first
//   "rotation"       [1, 1] one byte, form + 4·split of RotationKind; absent: 0
// and, to be checked or read: "factors" p0, p1 of U and of V; "rotation_hash", which the redrawn
// rotations must have where it is there; "proxy_loss" per token before and after greedy passes;
// "rotated_mean" over the standard deviation.
struct IncoherentParts {
  const DrawnRotation& u;
  const DrawnRotation& v;
  std::uint64_t u_seed = 0, v_seed = 0;
  RotationKind kind;
  MatrixView<const std::uint8_t> codes;
  float delta = 0;
  std::span<const double> column_scales{};  // empty: all 1
  bool counts_scales = true;
  float proxy_loss[2] = {0, 0};
  float rotated_mean = 0;
};
QuantizedLinear assemble_incoherent(const LinearTask& task, const IncoherentParts& parts);
Matrix<float> rebuild_incoherent(const Place& place, const QuantizedLinear& linear);

// Bytes of a linear in this format, as long as the rescaling finds no dead columns to mark.
struct IncoherentBytes {
  std::int64_t required = 0, all = 0;
};
IncoherentBytes incoherent_bytes(const Recipe& recipe, Linear linear, std::int64_t rows,
                                 std::int64_t cols);

// The rotation that the options "rotation" and "factors" ask for.
RotationKind rotation_kind(const Recipe& recipe);

}  // namespace bitgrid
