#pragma once

#include <cstdint>
#include <span>

#include "kernels/matrix.hpp"
#include "kernels/place.hpp"

namespace bitgrid {

// What the rows of an LDLQ solve share. A position is a place in the order in which columns are
// rounded; H is damped and in that order, H = GᵀDG with G unit lower triangular.
struct LdlqColumns {
  int bits = 4;
  float delta = 1;                      // what one code step is in w
  std::span<const std::int32_t> order;  // position -> column of w
  MatrixView<const float> feedback;     // G [in, in]; what is above its diagonal is not read.
                                        // Empty: there is none, and d and h are not read either
  std::span<const double> d;            // [in], the diagonal of D
  bool nearest = false;                 // round the target itself; losses are still measured
  bool preclamp = false;                // clamp the target to the grid before anything else
  MatrixView<const float> h;            // H [in, in], both triangles; for greedy passes
  std::int64_t greedy_passes = 0;
  std::int64_t block = 128;  // positions between two matrix products; changes rounding errors only
};

// LDLQ (QuIP, Chee et al. 2023, eq. 3) on rows that know nothing of each other, on one grid with
// codes u in 0 … 2^bits − 1 that stand for delta·(u − (2^bits − 1)/2). With v = w/delta + maxq/2,
//   for each position i: z_i = v_i + Σ_{p<i} (v_p − u_p)·G_ip; u_i = clamp(rne(z_i));
// then greedy passes of coordinate descent, until one changes nothing:
//   t = u_i + ((v − u)H)_i/H_ii; u_i = clamp(rne(t)).
//   w [rows, in]    codes [rows, in], in column order
//   loss [rows, 2]: (v − u)H(v − u)ᵀ = Σ D_i (z_i − u_i)² before and after the greedy passes, in
//   steps; without feedback ‖v − u‖².
// A row's result does not depend on the other rows, as long as rows keep their places within tiles
// of kLdlqTileRows.
inline constexpr std::int64_t kLdlqTileRows = 128;
void ldlq_rows(const Place& place, const LdlqColumns& columns, MatrixView<const float> w,
               MatrixView<std::uint8_t> codes, MatrixView<double> loss);
namespace cpu {
void ldlq_rows(const Place& place, const LdlqColumns& columns, MatrixView<const float> w,
               MatrixView<std::uint8_t> codes, MatrixView<double> loss);
}
namespace cuda {
void ldlq_rows(const Place& place, const LdlqColumns& columns, MatrixView<const float> w,
               MatrixView<std::uint8_t> codes, MatrixView<double> loss);
}

}  // namespace bitgrid
