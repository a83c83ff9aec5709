#pragma once

#include <cstdint>
#include <span>

#include "kernels/matrix.hpp"
#include "kernels/place.hpp"

namespace bitgrid {

// H = scale·S with its diagonal replaced, rows and columns in a chosen order.
struct ScaledGram {
  MatrixView<const double> s;  // [in, in], lower triangle
  double scale = 1;
  std::span<const double> diagonal;     // [in], of H, by column: scaled, repaired and damped
  std::span<const std::int32_t> order;  // position -> column; empty: identity
};

// U upper triangular with a positive diagonal and UᵀU = H⁻¹, in fp64, stored as fp32 with zeros
// below the diagonal. H is reversed in both directions, factored (Cholesky) and the triangle
// inverted; reversing that gives U. This is half the work of inverting H and factoring the inverse,
// and only the Cholesky can fail.
//   u [in, in]
// Returns −1, or the position of the pivot at which H is not positive definite; u then holds
// nothing of use. Needs in² x 8 B on top of s and u: 6.6 GB for in = 28672. The result is the same
// bytes for any number of threads.
std::int64_t inverse_factor(const Place& place, const ScaledGram& h, MatrixView<float> u);

// G unit lower triangular and D with H = GᵀDG, in fp64, G stored as fp32 with zeros above the
// diagonal: the feedback of LDLQ. Only the Cholesky of the reversed H; returns as above.
//   g [in, in]    d [in]
std::int64_t feedback_factor(const Place& place, const ScaledGram& h, MatrixView<float> g,
                             std::span<double> d);
namespace cpu {
std::int64_t inverse_factor(const Place& place, const ScaledGram& h, MatrixView<float> u);
std::int64_t feedback_factor(const Place& place, const ScaledGram& h, MatrixView<float> g,
                             std::span<double> d);
}  // namespace cpu
namespace cuda {
std::int64_t inverse_factor(const Place& place, const ScaledGram& h, MatrixView<float> u);
std::int64_t feedback_factor(const Place& place, const ScaledGram& h, MatrixView<float> g,
                             std::span<double> d);
}  // namespace cuda

}  // namespace bitgrid
