#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "core/methods/quantized_linear.hpp"
#include "core/methods/tap_work.hpp"
#include "kernels/place.hpp"

namespace bitgrid {

// The order in which a column loop takes the columns, and how H is damped.
struct FactorRequest {
  double damp = 0.01;          // of the mean diagonal; the ladder climbs from here
  std::string order = "none";  // none; act, static: by descending diagonal; gar: inside groups, and
                               // groups by their largest diagonal
  std::int64_t group = -1;     // for gar
};

// What column loops share: H = 2S/N with repaired dead columns, damped, and its factor. Views of
// something that the tap keeps.
struct Factor {
  std::span<const std::int32_t> order;  // position -> column; empty: identity
  std::span<const std::int32_t> dead;   // columns without any input
  MatrixView<const float> u;  // U [in, in] upper triangular, UᵀU = H⁻¹ in `order`; empty: none
                              // could be found, or nothing has input
  double damping = 0;
  std::int64_t damping_attempts = 0;
  bool fallback = false;  // the factorization failed even at the end of the ladder
  double seconds = 0;
};

// Throws Error (this cell fails) when S is not finite.
Factor shared_factor(const Place& place, TapWork& work, const FactorRequest& request);

// Damping, fallback, dead columns and seconds, as a linear reports them.
void note_factor(const Factor& factor, LinearDiagnostics& diagnostics);

// A copy of w with zeros in the dead columns.
Matrix<float> without_dead_columns(MatrixView<const float> w, std::span<const std::int32_t> dead);

}  // namespace bitgrid
