#include <gtest/gtest.h>

#include "core/model/segments.hpp"
#include "kernels/attention.hpp"
#include "kernels/linear.hpp"
#include "kernels/rms_norm.hpp"
#include "kernels/rope.hpp"
#include "kernels/swiglu.hpp"
#include "tests/oracle/test_matrix.hpp"

// A layer with activation grids, against the same operations written one after the other.
namespace bitgrid {
namespace {
using oracle::random_matrix;
using oracle::same_bytes;

LlamaConfig small_config() {
  LlamaConfig config;
  config.hidden_size = 20;
  config.intermediate_size = 33;
  config.layer_count = 1;
  config.head_count = 4;
  config.kv_head_count = 2;
  config.head_size = 6;
  config.rms_norm_eps = 1e-5;
  return config;
}

LayerWeights layer_of(const LlamaConfig& config) {
  LayerWeights w;
  w.input_norm = random_matrix(1, config.hidden_size, 1);
  w.post_attention_norm = random_matrix(1, config.hidden_size, 2);
  for (const Linear linear : kLinears)
    w[linear] = random_matrix(linear_rows(config, linear), linear_cols(config, linear),
                              3 + static_cast<unsigned>(linear), 0.3);
  for (const Tap tap : kTaps)  // a grid of its own at each place
    w.activations[tap] = {3 + static_cast<int>(tap), tap != Tap::mlp_input,
                          tap == Tap::mlp_hidden ? RangeOf::tensor : RangeOf::token, 0};
  w.activations[Tap::attention_output].range = RangeOf::fixed;
  w.activations[Tap::attention_output].scale = 0.3f;
  w.activations.qkv = {8, true, RangeOf::token, 0};
  return w;
}

// x after the layer.
Matrix<float> by_hand(const LlamaConfig& config, const LayerWeights& w, const RopeTable& table,
                      const Matrix<float>& input) {
  const Place place = cpu_place(1);
  const std::int64_t tokens = input.rows();
  const auto epsilon = static_cast<float>(config.rms_norm_eps);
  const auto& grids = w.activations;
  Matrix<float> x = input.clone();
  const auto apply = [&](const Matrix<float>& in, Linear which) {
    Matrix<float> out(tokens, linear_rows(config, which));
    linear(place, in.view(), w[which].view(), out.view());
    return out;
  };
  Matrix<float> a(tokens, config.hidden_size);
  rms_norm(place, x.view(), w.input_norm.view(), epsilon, a.view());
  fake_quantize(place, grids[Tap::attention_input], a.view());
  Matrix<float> q = apply(a, Linear::q), k = apply(a, Linear::k), v = apply(a, Linear::v);
  for (Matrix<float>* m : {&q, &k, &v}) fake_quantize(place, grids.qkv, m->view());
  for (Matrix<float>* m : {&q, &k})
    rope(place, m->view(), config.head_size, table.cos.view(), table.sin.view());
  Matrix<float> b(tokens, config.query_size());
  attention(place, q.view(), k.view(), v.view(), config.head_size, b.view());
  fake_quantize(place, grids[Tap::attention_output], b.view());
  linear(place, b.view(), w[Linear::o].view(), x.view(), Accumulate::yes);
  rms_norm(place, x.view(), w.post_attention_norm.view(), epsilon, a.view());
  fake_quantize(place, grids[Tap::mlp_input], a.view());
  Matrix<float> gate = apply(a, Linear::gate), up = apply(a, Linear::up);
  swiglu(place, gate.view(), up.view(), gate.view());
  fake_quantize(place, grids[Tap::mlp_hidden], gate.view());
  linear(place, gate.view(), w[Linear::down].view(), x.view(), Accumulate::yes);
  return x;
}

TEST(ActivationGrids, AreAppliedAtEveryTap) {
  const LlamaConfig config = small_config();
  const RopeTable table = make_rope_table(config, 17);
  const Matrix<float> input = random_matrix(17, config.hidden_size, 20);
  const LayerWeights w = layer_of(config);
  LayerScratch scratch;
  Matrix<float> x = input.clone();
  layer_forward(cpu_place(1), config, w, table, x.view(), scratch);
  EXPECT_TRUE(same_bytes(x.view(), by_hand(config, w, table, input).view()));
  // Each of them matters.
  for (int off = 0; off <= kTapCount; ++off) {
    LayerWeights without = clone_layer(w);
    (off == kTapCount ? without.activations.qkv
                      : without.activations.taps.at(static_cast<std::size_t>(off)))
        .bits = 16;
    Matrix<float> y = input.clone();
    layer_forward(cpu_place(1), config, without, table, y.view(), scratch);
    EXPECT_FALSE(same_bytes(x.view(), y.view())) << off;
  }
}

TEST(ActivationGrids, ACopyOfALayerHasThem) {
  const LayerWeights w = layer_of(small_config());
  EXPECT_EQ(clone_layer(w).activations, w.activations);
  EXPECT_NE(clone_layer(w).activations, ActivationGrids{});
}

}  // namespace
}  // namespace bitgrid
