#include "core/model/segments.hpp"

#include "kernels/attention.hpp"
#include "kernels/fake_quantize.hpp"
#include "kernels/linear.hpp"
#include "kernels/rms_norm.hpp"
#include "kernels/rope.hpp"
#include "kernels/scratch.hpp"
#include "kernels/swiglu.hpp"

namespace bitgrid {
namespace {
float epsilon_of(const LlamaConfig& config) { return static_cast<float>(config.rms_norm_eps); }
}  // namespace

void attention_input(const Place& place, const LlamaConfig& config, const LayerWeights& weights,
                     MatrixView<const float> x, MatrixView<float> tap) {
  rms_norm(place, x, weights.input_norm.view(), epsilon_of(config), tap);
  fake_quantize(place, weights.activations[Tap::attention_input], tap);
}

void attention_output(const Place& place, const LlamaConfig& config, const LayerWeights& weights,
                      const RopeTable& table, MatrixView<const float> input, MatrixView<float> tap,
                      SegmentScratch& scratch) {
  const MatrixView<float> q = scratch_view(scratch.a, input.rows, config.query_size());
  const MatrixView<float> k = scratch_view(scratch.b, input.rows, config.kv_size());
  const MatrixView<float> v = scratch_view(scratch.c, input.rows, config.kv_size());
  linear(place, input, weights[Linear::q].view(), q);
  linear(place, input, weights[Linear::k].view(), k);
  linear(place, input, weights[Linear::v].view(), v);
  for (const MatrixView<float> output : {q, k, v})
    fake_quantize(place, weights.activations.qkv, output);
  rope(place, q, config.head_size, table.cos.view(), table.sin.view());
  rope(place, k, config.head_size, table.cos.view(), table.sin.view());
  attention(place, q, k, v, config.head_size, tap);
  fake_quantize(place, weights.activations[Tap::attention_output], tap);
}

void mlp_input(const Place& place, const LlamaConfig& config, const LayerWeights& weights,
               MatrixView<const float> input, MatrixView<float> x, MatrixView<float> tap,
               SegmentScratch&) {
  linear(place, input, weights[Linear::o].view(), x, Accumulate::yes);
  rms_norm(place, x, weights.post_attention_norm.view(), epsilon_of(config), tap);
  fake_quantize(place, weights.activations[Tap::mlp_input], tap);
}

void mlp_hidden(const Place& place, const LlamaConfig& config, const LayerWeights& weights,
                MatrixView<const float> input, MatrixView<float> tap, SegmentScratch& scratch) {
  const MatrixView<float> up = scratch_view(scratch.a, input.rows, config.intermediate_size);
  linear(place, input, weights[Linear::gate].view(), tap);
  linear(place, input, weights[Linear::up].view(), up);
  swiglu(place, tap, up, tap);
  fake_quantize(place, weights.activations[Tap::mlp_hidden], tap);
}

void layer_output(const Place& place, const LlamaConfig&, const LayerWeights& weights,
                  MatrixView<const float> input, MatrixView<float> x, SegmentScratch&) {
  linear(place, input, weights[Linear::down].view(), x, Accumulate::yes);
}

void layer_forward(const Place& place, const LlamaConfig& config, const LayerWeights& weights,
                   const RopeTable& table, MatrixView<float> x, LayerScratch& scratch) {
  const auto tap = [&](Matrix<float>& buffer, Tap which) {
    return scratch_view(buffer, x.rows, tap_size(config, which));
  };
  const MatrixView<float> first = tap(scratch.tap_a, Tap::attention_input);
  attention_input(place, config, weights, x, first);
  const MatrixView<float> second = tap(scratch.tap_b, Tap::attention_output);
  attention_output(place, config, weights, table, first, second, scratch.segment);
  const MatrixView<float> third = tap(scratch.tap_a, Tap::mlp_input);
  mlp_input(place, config, weights, second, x, third, scratch.segment);
  const MatrixView<float> fourth = tap(scratch.tap_b, Tap::mlp_hidden);
  mlp_hidden(place, config, weights, third, fourth, scratch.segment);
  layer_output(place, config, weights, fourth, x, scratch.segment);
}

}  // namespace bitgrid
