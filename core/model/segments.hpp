#pragma once

#include <cstdint>
#include <span>

#include "core/model/weights.hpp"
#include "kernels/matrix.hpp"
#include "kernels/place.hpp"

namespace bitgrid {

class Checkpoint;

// cos and sin of p·ω_j, [positions, head_size / 2] each, ω with the configuration's scaling.
struct RopeTable {
  Matrix<float> cos;
  Matrix<float> sin;
};
RopeTable make_rope_table(const LlamaConfig& config, std::int64_t positions);

// Buffers that one window needs on its way through a layer; kept per thread and grown on demand.
struct SegmentScratch {
  Matrix<float> a, b, c, d;
};

// Embedding rows of one window: x [tokens, hidden] fp32 from the checkpoint's embedding (only these
// rows are read). Throws RunError if such a row holds a NaN or an infinity.
void embed_window(const Checkpoint& checkpoint, const LlamaConfig& config,
                  std::span<const std::int32_t> ids, MatrixView<float> x);

// A layer in four segments, one window at a time: x [tokens, hidden] is the residual stream,
// changed in place; each segment ends at the input (tap) of the linears that the next segment
// applies. Between two segments those linears may be replaced by quantized ones: that is GPTQ's
// true-sequential order in a single forward.
//
//   attention_input   tap [tokens, hidden]       = RMSNorm(x; input_norm)
//   attention_output  tap [tokens, query_size]   = attention(RoPE(input Wqᵀ), RoPE(input Wkᵀ),
//   input Wvᵀ) mlp_input         x += input Woᵀ;  tap [tokens, hidden] = RMSNorm(x;
//   post_attention_norm) mlp_hidden        tap [tokens, intermediate] = silu(input Wgateᵀ) ∘ (input
//   Wupᵀ) layer_output      x += input Wdownᵀ
//
// Each tap, and the outputs of q, k and v before RoPE, are put on the layer's activation grids.
//
// The shape of every BLAS call depends on the window alone, so the result is the same bytes
// whatever the place.
void attention_input(const Place&, const LlamaConfig&, const LayerWeights&,
                     MatrixView<const float> x, MatrixView<float> tap);
void attention_output(const Place&, const LlamaConfig&, const LayerWeights&, const RopeTable&,
                      MatrixView<const float> input, MatrixView<float> tap, SegmentScratch&);
void mlp_input(const Place&, const LlamaConfig&, const LayerWeights&, MatrixView<const float> input,
               MatrixView<float> x, MatrixView<float> tap, SegmentScratch&);
void mlp_hidden(const Place&, const LlamaConfig&, const LayerWeights&,
                MatrixView<const float> input, MatrixView<float> tap, SegmentScratch&);
void layer_output(const Place&, const LlamaConfig&, const LayerWeights&,
                  MatrixView<const float> input, MatrixView<float> x, SegmentScratch&);

// The five steps in a row, for windows that only pass through.
struct LayerScratch {
  Matrix<float> tap_a, tap_b;
  SegmentScratch segment;
};
void layer_forward(const Place&, const LlamaConfig&, const LayerWeights&, const RopeTable&,
                   MatrixView<float> x, LayerScratch&);

}  // namespace bitgrid
