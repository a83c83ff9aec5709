#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "core/methods/incoherence.hpp"
#include "core/methods/tap_work.hpp"
#include "kernels/place.hpp"

namespace bitgrid {

// How the inputs of one or more linears are made incoherent.
struct IncoherentRequest {
  std::span<const double> weight_norms;  // [in] ω_j = Σ_r W_rj² over all rows that share this
  const DrawnRotation& v;                // turns the inputs
  std::uint64_t v_seed = 0;              // what it was drawn of, and how
  RotationKind kind;
  bool rescale = true;
  double damp = 0.0201;        // of the mean diagonal; the ladder climbs from here
  std::string order = "last";  // last: from the last column to the first; first: from the first;
                               // diagonal: by descending diagonal of the rotated H
  bool greedy = false;         // H itself is wanted, too
};

// H̃ = V·diag(1/s)·S·diag(1/s)·Vᵀ·gram_scale + damping·I, its mean diagonal before damping 1, as the
// columns are taken: H̃ = GᵀDG (see LdlqColumns). Views of something that the tap keeps.
struct IncoherentFactor {
  std::span<const double> scales;       // s [in], as stored; 1 where there is no input
  std::span<const std::int32_t> order;  // position -> column
  std::span<const std::int32_t> dead;   // columns without any input
  MatrixView<const float> feedback;     // G [in, in]; empty: none could be found, or nothing has
                                        // input
  std::span<const double> d;            // [in]
  MatrixView<const float> h;            // H̃ [in, in], where greedy
  double gram_scale = 0;
  double damping = 0;
  std::int64_t damping_attempts = 0;
  bool fallback = false;  // the factorization failed even at the end of the ladder
  double seconds = 0;
};

// Made once for all who ask for the same. S must be finite.
IncoherentFactor shared_incoherent_factor(const Place& place, TapWork& work,
                                          const IncoherentRequest& request);

}  // namespace bitgrid
