#pragma once

#include <array>
#include <cstdint>

#include "core/model/linear.hpp"

namespace bitgrid {

// What a model costs, from its configuration alone. Floating-point operations count a multiply-add
// as two; they are doubles because a large sweep passes 2^63.

struct ParameterCounts {
  std::int64_t layer_linears = 0;  // the seven linears of one layer
  std::int64_t layer = 0;          // with its two norms
  std::int64_t embedding = 0;      // vocab · hidden; the head is as large, unless tied
  std::int64_t total = 0;
};
ParameterCounts parameter_counts(const LlamaConfig& config);

// Equal windows that pass through the model.
struct Workload {
  std::int64_t windows = 0;
  std::int64_t length = 0;  // tokens per window
};

// One layer, all windows. Indexed by Tap where linears share an input.
struct LayerFlops {
  double linears = 0;
  double attention = 0;  // scores and weighted values of what a token sees, the causal half
  std::array<double, kTapCount> gram = {};  // one triangle of xᵀx
  std::array<double, kTapCount> factorization =
      {};  // Cholesky and the inverse of the triangle: in³/3 each
  std::array<double, kTapCount> solve =
      {};  // column by column with error feedback: out · in² per linear

  double forward() const { return linears + attention; }
  double quantization() const;  // gram, factorization and solve of all taps
};
LayerFlops layer_flops(const LlamaConfig& config, const Workload& work);

// The final norm is not worth counting; the head is applied to every token.
double head_flops(const LlamaConfig& config, const Workload& work);

// fp32 buffers of a rank.
struct MemoryBytes {
  std::int64_t layer = 0;                         // weights of one layer
  std::int64_t head = 0;                          // the output head
  std::array<std::int64_t, kTapCount> gram = {};  // [in, in] of one tap
  std::int64_t window_hidden = 0;                 // the residual stream of one window
  std::array<std::int64_t, kTapCount> window_tap = {};
  std::int64_t window_scratch =
      0;  // what one thread needs to take a window through a layer, its two taps included
};
MemoryBytes memory_bytes(const LlamaConfig& config, std::int64_t window_length);

}  // namespace bitgrid
