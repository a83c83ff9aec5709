#include "core/tuning/layer_gradient.hpp"

#include <algorithm>

#include "kernels/attention.hpp"
#include "kernels/attention_backward.hpp"
#include "kernels/error.hpp"
#include "kernels/linear.hpp"
#include "kernels/linear_backward.hpp"
#include "kernels/rms_norm.hpp"
#include "kernels/rms_norm_backward.hpp"
#include "kernels/rope.hpp"
#include "kernels/swiglu.hpp"
#include "kernels/swiglu_backward.hpp"

namespace bitgrid {
namespace {

float epsilon_of(const LlamaConfig& config) { return static_cast<float>(config.rms_norm_eps); }

void copy_rows(MatrixView<const float> from, MatrixView<float> to) {
  if (from.data == to.data) return;
  for (std::int64_t r = 0; r < from.rows; ++r) std::copy_n(from.row(r), from.cols, to.row(r));
}

MatrixView<float> sized(Matrix<float>& buffer, std::int64_t rows, std::int64_t cols) {
  if (buffer.rows() != rows || buffer.cols() != cols) {
    buffer = Matrix<float>();  // the old memory goes first
    buffer = Matrix<float>(rows, cols);
  }
  return buffer.view();
}

// One pass back; names as in LayerTrace.
class Backward {
 public:
  Backward(const Place& place, const LlamaConfig& config, const LayerWeights& weights,
           LayerTrace& trace, const AtLinear& at_linear)
      : place_(place), config_(config), weights_(weights), t_(trace), at_linear_(at_linear) {}

  // dmiddle: the gradient of the residual stream behind attention.
  MatrixView<float> mlp(MatrixView<const float> dy) {
    const std::int64_t tokens = dy.rows;
    const MatrixView<float> dup = sized(t_.dup, tokens, config_.intermediate_size);
    const MatrixView<float> dgate = sized(t_.dgate, tokens, config_.intermediate_size);
    at_linear_(Linear::down, t_.hidden.view(), dy);
    into(Linear::down, dy, dup);
    swiglu_backward(place_, t_.gate.view(), t_.up.view(), dup, dgate, dup);
    at_linear_(Linear::gate, t_.mlp_input.view(), dgate);
    at_linear_(Linear::up, t_.mlp_input.view(), dup);
    const MatrixView<float> dinput = sized(t_.dinput, tokens, config_.hidden_size);
    into(Linear::gate, dgate, dinput);
    into(Linear::up, dup, dinput, Accumulate::yes);
    const MatrixView<float> dmiddle = sized(t_.dmiddle, tokens, config_.hidden_size);
    copy_rows(dy, dmiddle);
    rms_norm_backward(place_, t_.middle.view(), weights_.post_attention_norm.view(),
                      epsilon_of(config_), dinput, dmiddle);
    return dmiddle;
  }

  void attention(const RopeTable& rope, MatrixView<const float> dmiddle) {
    const std::int64_t tokens = dmiddle.rows;
    const MatrixView<float> dheads = sized(t_.dheads, tokens, config_.query_size());
    const MatrixView<float> dq = sized(t_.dq, tokens, config_.query_size());
    const MatrixView<float> dk = sized(t_.dk, tokens, config_.kv_size());
    const MatrixView<float> dv = sized(t_.dv, tokens, config_.kv_size());
    at_linear_(Linear::o, t_.heads.view(), dmiddle);
    into(Linear::o, dmiddle, dheads);
    attention_backward(place_, t_.q.view(), t_.k.view(), t_.v.view(), config_.head_size, dheads, dq,
                       dk, dv);
    rope_backward(place_, dq, config_.head_size, rope.cos.view(), rope.sin.view());
    rope_backward(place_, dk, config_.head_size, rope.cos.view(), rope.sin.view());
    at_linear_(Linear::q, t_.attention_input.view(), dq);
    at_linear_(Linear::k, t_.attention_input.view(), dk);
    at_linear_(Linear::v, t_.attention_input.view(), dv);
  }

  // Adds to dx, which holds dmiddle.
  void input(MatrixView<const float> x, MatrixView<float> dx) {
    const MatrixView<float> dinput = t_.dinput.view();
    into(Linear::q, t_.dq.view(), dinput);
    into(Linear::k, t_.dk.view(), dinput, Accumulate::yes);
    into(Linear::v, t_.dv.view(), dinput, Accumulate::yes);
    rms_norm_backward(place_, x, weights_.input_norm.view(), epsilon_of(config_), dinput, dx);
  }

 private:
  void into(Linear linear, MatrixView<const float> dy, MatrixView<float> dx,
            Accumulate accumulate = Accumulate::no) {
    linear_backward_input(place_, dy, weights_[linear].view(), dx, accumulate);
  }

  const Place& place_;
  const LlamaConfig& config_;
  const LayerWeights& weights_;
  LayerTrace& t_;
  const AtLinear& at_linear_;
};

}  // namespace

std::int64_t layer_trace_bytes(const LlamaConfig& config, std::int64_t tokens) {
  const std::int64_t widths = 5 * config.hidden_size + 4 * config.query_size() +
                              4 * config.kv_size() + 5 * config.intermediate_size;
  return static_cast<std::int64_t>(sizeof(float)) * tokens * widths;
}

void traced_forward(const Place& place, const LlamaConfig& config, const LayerWeights& weights,
                    const RopeTable& table, MatrixView<const float> x, MatrixView<float> y,
                    LayerTrace& t) {
  const auto apply = [&](Linear which, const Matrix<float>& input, Matrix<float>& output) {
    linear(place, input.view(), weights[which].view(),
           sized(output, x.rows, linear_rows(config, which)));
  };
  rms_norm(place, x, weights.input_norm.view(), epsilon_of(config),
           sized(t.attention_input, x.rows, x.cols));
  apply(Linear::q, t.attention_input, t.q);
  apply(Linear::k, t.attention_input, t.k);
  apply(Linear::v, t.attention_input, t.v);
  rope(place, t.q.view(), config.head_size, table.cos.view(), table.sin.view());
  rope(place, t.k.view(), config.head_size, table.cos.view(), table.sin.view());
  attention(place, t.q.view(), t.k.view(), t.v.view(), config.head_size,
            sized(t.heads, x.rows, config.query_size()));
  copy_rows(x, sized(t.middle, x.rows, x.cols));
  linear(place, t.heads.view(), weights[Linear::o].view(), t.middle.view(), Accumulate::yes);
  rms_norm(place, t.middle.view(), weights.post_attention_norm.view(), epsilon_of(config),
           sized(t.mlp_input, x.rows, x.cols));
  apply(Linear::gate, t.mlp_input, t.gate);
  apply(Linear::up, t.mlp_input, t.up);
  swiglu(place, t.gate.view(), t.up.view(), sized(t.hidden, x.rows, config.intermediate_size));
  copy_rows(t.middle.view(), y);
  linear(place, t.hidden.view(), weights[Linear::down].view(), y, Accumulate::yes);
}

void layer_backward(const Place& place, const LlamaConfig& config, const LayerWeights& weights,
                    const RopeTable& rope, MatrixView<const float> x, MatrixView<const float> dy,
                    LayerTrace& trace, const AtLinear& at_linear, const MatrixView<float>* dx) {
  BITGRID_ASSERT(trace.hidden.rows() == dy.rows && x.rows == dy.rows && x.cols == dy.cols);
  Backward back(place, config, weights, trace, at_linear);
  const MatrixView<float> dmiddle = back.mlp(dy);
  back.attention(rope, dmiddle);
  if (dx == nullptr) return;
  copy_rows(dmiddle, *dx);
  back.input(x, *dx);
}

}  // namespace bitgrid
