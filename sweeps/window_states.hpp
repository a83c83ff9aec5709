#pragma once

#include <cstdint>
#include <vector>

#include "core/model/segments.hpp"
#include "core/text/datasets.hpp"
#include "sweeps/rank_context.hpp"

namespace bitgrid {

// Hidden states of one set's windows on this rank: x [own windows · length, hidden] fp32, window
// after window.
struct WindowStates {
  const Windows* windows = nullptr;
  ShardRange own;  // which of the set's windows
  Matrix<float> x;

  std::int64_t length() const { return windows->length; }
  MatrixView<float> window(std::int64_t i) {
    return x.rows_from(i * length(), length());
  }  // i-th own window
};

// The embedding of this rank's windows. RunError if an embedding row that is used is not finite.
WindowStates embed_windows(RankContext& rank, const Windows& windows);
// The same shape, contents still to come.
WindowStates empty_states(const RankContext& rank, const Windows& windows);

// Takes windows through one layer: threads over windows. Throws Error naming the linears whose
// input or output stops being finite. `what` names the set.
void forward_layer(RankContext& rank, const LayerWeights& weights, WindowStates& states,
                   const std::string& what);

// "input of self_attn.q_proj, self_attn.k_proj, self_attn.v_proj"
std::string tap_text(Tap tap);
// Throws Error naming linears, set, window, token and channel if the tap, or a layer's output, is
// not finite.
void check_tap(const Place& place, MatrixView<const float> tap, Tap name, const std::string& what,
               std::int64_t window);
void check_output(const Place& place, MatrixView<const float> x, const std::string& what,
                  std::int64_t window);

}  // namespace bitgrid
