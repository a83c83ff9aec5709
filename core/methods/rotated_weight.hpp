#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/methods/incoherence.hpp"
#include "core/methods/incoherent_factor.hpp"
#include "kernels/place.hpp"

namespace bitgrid {

// ω_j = Σ_r W_rj² over the rows of all of these weights, in fp64 and their order.
std::vector<double> column_norms(const Place& place,
                                 std::span<const MatrixView<const float>> weights);

// W̃ = U·(W·diag(s))·Vᵀ, columns without input zero.
struct RotatedWeight {
  DrawnRotation u;
  std::uint64_t u_seed = 0;
  Matrix<float> w;                 // [rows, in]
  double norm = 0;                 // ‖W̃‖_F
  double mean_over_deviation = 0;  // of all its elements; the grid cannot shift
};
RotatedWeight rotate_weight(const Place& place, MatrixView<const float> w,
                            const IncoherentFactor& factor, const DrawnRotation& v,
                            std::uint64_t u_seed, const RotationKind& kind);

// tr(W̃ H̃ W̃ᵀ) = tr(W H Wᵀ) holds exactly. A trace costs as much as the rounding; one random
// combination g of the rows must agree as well, gᵀW̃ H̃ W̃ᵀg, and costs rows·in + in². Throws Error
// where it does not: S, the rotations or the factor are not what they should be.
//   gram [in, in] lower triangle
void check_rotation(const RotatedWeight& rotated, MatrixView<const float> w,
                    const Matrix<float>& gram, const IncoherentFactor& factor);

}  // namespace bitgrid
