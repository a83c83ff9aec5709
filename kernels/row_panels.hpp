#pragma once

#include <cstdint>

#include "kernels/matrix.hpp"
#include "kernels/place.hpp"

namespace bitgrid {

// A panel is kPanelRows rows of a weight side by side: its value (r, j) is element j·kPanelRows +
// r, so that a loop over rows is a vector loop and columns are taken one after the other. Rows that
// are missing from a last panel are zero. What a panel becomes does not depend on other panels.
// Matrices of panels have one row per panel, [panels, columns·kPanelRows].
inline constexpr std::int64_t kPanelRows = 16;
constexpr std::int64_t panel_count(std::int64_t rows) {
  return (rows + kPanelRows - 1) / kPanelRows;
}

//   w [rows, columns]    panels [panel_count(rows), columns·kPanelRows]
void load_panels(const Place& place, MatrixView<const float> w, MatrixView<float> panels);
void store_panels(const Place& place, MatrixView<const float> panels, MatrixView<float> w);

// Feedback of a block of columns into those behind it: w_rj −= Σ_p e_rp·u_pj.
//   e [panels, count·kPanelRows]    u [count, columns]    w [panels, columns·kPanelRows]
void subtract_products(const Place& place, MatrixView<const float> e, MatrixView<const float> u,
                       MatrixView<float> w);

// Overwrites d with the e of e·U = d: what a block of columns, rounded all at once, leaves to those
// behind it.
//   d [panels, count·kPanelRows]    u [count, count], upper triangular
void solve_feedback(const Place& place, MatrixView<const float> u, MatrixView<float> d);

namespace cpu {
void load_panels(const Place& place, MatrixView<const float> w, MatrixView<float> panels);
void store_panels(const Place& place, MatrixView<const float> panels, MatrixView<float> w);
void subtract_products(const Place& place, MatrixView<const float> e, MatrixView<const float> u,
                       MatrixView<float> w);
void solve_feedback(const Place& place, MatrixView<const float> u, MatrixView<float> d);
}  // namespace cpu
namespace cuda {
void load_panels(const Place& place, MatrixView<const float> w, MatrixView<float> panels);
void store_panels(const Place& place, MatrixView<const float> panels, MatrixView<float> w);
void subtract_products(const Place& place, MatrixView<const float> e, MatrixView<const float> u,
                       MatrixView<float> w);
void solve_feedback(const Place& place, MatrixView<const float> u, MatrixView<float> d);
}  // namespace cuda

}  // namespace bitgrid
