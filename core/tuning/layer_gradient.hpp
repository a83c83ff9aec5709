#pragma once

#include <cstdint>
#include <functional>

#include "core/model/linear.hpp"
#include "core/model/segments.hpp"
#include "core/model/weights.hpp"
#include "kernels/matrix.hpp"
#include "kernels/place.hpp"

namespace bitgrid {

// What a decoder layer computed of one window, as its backward pass needs it, and buffers of that
// pass. One per thread; grows on demand.
struct LayerTrace {
  Matrix<float> attention_input;  // [tokens, hidden]
  Matrix<float> q, k;             // rotated
  Matrix<float> v;
  Matrix<float> heads;      // [tokens, query_size], the input of o
  Matrix<float> middle;     // [tokens, hidden], the residual stream behind attention
  Matrix<float> mlp_input;  // [tokens, hidden]
  Matrix<float> gate, up;   // [tokens, intermediate], as their linears give them
  Matrix<float> hidden;     // [tokens, intermediate], the input of down
  Matrix<float> dmiddle, dinput, dheads, dq, dk, dv, dgate, dup;
};
std::int64_t layer_trace_bytes(const LlamaConfig& config, std::int64_t tokens);

// y = layer(x), the same bytes as layer_forward.  x, y [tokens, hidden]
void traced_forward(const Place& place, const LlamaConfig& config, const LayerWeights& weights,
                    const RopeTable& rope, MatrixView<const float> x, MatrixView<float> y,
                    LayerTrace& trace);

// Sees each of the seven linears on the way back: its input x [tokens, in] and the gradient of its
// output dy [tokens, out]. That of its weight is dyᵀ x (linear_backward_weight); whoever wants only
// sums or projections of it need not make it as a whole.
using AtLinear =
    std::function<void(Linear linear, MatrixView<const float> x, MatrixView<const float> dy)>;

// The way back through the layer from dy = ∂L/∂y [tokens, hidden], behind traced_forward with the
// same weights and x: down, gate, up, o, q, k, v in this order.
//   dx: null, or out: ∂L/∂x [tokens, hidden], which may be dy
void layer_backward(const Place& place, const LlamaConfig& config, const LayerWeights& weights,
                    const RopeTable& rope, MatrixView<const float> x, MatrixView<const float> dy,
                    LayerTrace& trace, const AtLinear& at_linear,
                    const MatrixView<float>* dx = nullptr);

}  // namespace bitgrid
