#include "core/tuning/layer_gradient.hpp"

#include <gtest/gtest.h>

#include <map>
#include <ostream>

#include "kernels/linear_backward.hpp"
#include "tests/oracle/finite_differences.hpp"
#include "tests/oracle/llama_oracle.hpp"

namespace bitgrid {
namespace {
using oracle::random_matrix;
using oracle::Rows;
using oracle::same_bytes;
using oracle::widen;

constexpr double kTheta = 1e4;

struct Shape {
  std::int64_t tokens, heads, kv_heads;
};
void PrintTo(const Shape& s, std::ostream* out) {
  *out << s.tokens << " tokens, heads " << s.heads << "/" << s.kv_heads;
}

LlamaConfig small_config(const Shape& shape) {
  LlamaConfig config;
  config.hidden_size = 5;
  config.intermediate_size = 7;
  config.layer_count = 1;
  config.head_count = shape.heads;
  config.kv_head_count = shape.kv_heads;
  config.head_size = 2;
  config.vocab_size = 3;
  config.rms_norm_eps = 1e-2;
  config.rope_theta = kTheta;
  return config;
}

LayerWeights random_layer(const LlamaConfig& config) {
  LayerWeights weights;
  weights.input_norm = random_matrix(1, config.hidden_size, 1);
  weights.post_attention_norm = random_matrix(1, config.hidden_size, 2);
  for (const Linear linear : kLinears)
    weights[linear] = random_matrix(linear_rows(config, linear), linear_cols(config, linear),
                                    3 + static_cast<unsigned>(linear), 0.7);
  return weights;
}

// One small layer with the loss L = Σ dy ∘ layer(x).
class SmallLayer {
 public:
  explicit SmallLayer(const Shape& shape)
      : shape(shape),
        config(small_config(shape)),
        rope(make_rope_table(config, shape.tokens + 2)),
        weights(random_layer(config)),
        x(random_matrix(shape.tokens, config.hidden_size, 20)),
        dy(random_matrix(shape.tokens, config.hidden_size, 21)) {}

  double loss(const Rows& input, const oracle::LlamaLayer& layer) const {
    const oracle::LlamaShape s{static_cast<std::size_t>(shape.heads),
                               static_cast<std::size_t>(shape.kv_heads), 2, config.rms_norm_eps,
                               kTheta};
    return oracle::dot(oracle::layer_forward(input, layer, s), widen(dy.view()));
  }
  oracle::LlamaLayer wide() const {
    const auto w = [&](Linear linear) { return widen(weights[linear].view()); };
    return {widen(weights.input_norm.view())[0],
            widen(weights.post_attention_norm.view())[0],
            w(Linear::q),
            w(Linear::k),
            w(Linear::v),
            w(Linear::o),
            w(Linear::gate),
            w(Linear::up),
            w(Linear::down)};
  }
  Matrix<float> forward(const Place& place, LayerTrace& trace) const {
    Matrix<float> y(x.rows(), x.cols());
    traced_forward(place, config, weights, rope, x.view(), y.view(), trace);
    return y;
  }
  // dW of all linears; dx where it is asked for.
  std::map<Linear, Matrix<float>> backward(const Place& place, LayerTrace& trace,
                                           const MatrixView<float>* dx = nullptr) const {
    std::map<Linear, Matrix<float>> gradients;
    const auto at = [&](Linear linear, MatrixView<const float> in, MatrixView<const float> dout) {
      Matrix<float> dw(dout.cols, in.cols);
      linear_backward_weight(place, dout, in, dw.view());
      EXPECT_TRUE(gradients.emplace(linear, std::move(dw)).second) << linear_name(linear);
    };
    layer_backward(place, config, weights, rope, x.view(), dy.view(), trace, at, dx);
    return gradients;
  }

  Shape shape;
  LlamaConfig config;
  RopeTable rope;
  LayerWeights weights;
  Matrix<float> x, dy;
};

Rows& rows_of(oracle::LlamaLayer& layer, Linear linear) {
  Rows* rows[] = {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down};
  return *rows[static_cast<int>(linear)];
}

// Some twenty operations of fp32, and differences of a function with a large third derivative.
constexpr double kTolerance = 2e-5;

class LayerGradient : public testing::TestWithParam<Shape> {
 protected:
  Place place = cpu_place(1);
  SmallLayer layer{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Shapes, LayerGradient,
                         testing::Values(Shape{1, 2, 2}, Shape{3, 2, 1}, Shape{5, 4, 2},
                                         Shape{4, 3, 3}));

TEST_P(LayerGradient, ForwardIsThatOfTheModel) {
  LayerTrace trace;
  const Matrix<float> y = layer.forward(place, trace);
  Matrix<float> expected = layer.x.clone();
  LayerScratch scratch;
  layer_forward(place, layer.config, layer.weights, layer.rope, expected.view(), scratch);
  EXPECT_TRUE(same_bytes(y.view(), expected.view()));
}

TEST_P(LayerGradient, WeightsMatchFiniteDifferences) {
  LayerTrace trace;
  layer.forward(place, trace);
  const auto gradients = layer.backward(place, trace);
  ASSERT_EQ(gradients.size(), static_cast<std::size_t>(kLinearCount));
  const Rows x = widen(layer.x.view());
  for (const Linear linear : kLinears) {
    oracle::LlamaLayer moved = layer.wide();
    const Rows at = rows_of(moved, linear);
    const Rows expected = oracle::slopes(
        [&](const Rows& w) {
          rows_of(moved, linear) = w;
          return layer.loss(x, moved);
        },
        at);
    EXPECT_LE(oracle::relative_difference(gradients.at(linear).view(), expected), kTolerance)
        << linear_name(linear);
  }
}

TEST_P(LayerGradient, TracesAreAsLargeAsTheyAreSaidToBe) {
  LayerTrace t;
  layer.forward(place, t);
  layer.backward(place, t);
  std::int64_t bytes = 0;
  for (const Matrix<float>* m :
       {&t.attention_input, &t.q, &t.k, &t.v, &t.heads, &t.middle, &t.mlp_input, &t.gate, &t.up,
        &t.hidden, &t.dmiddle, &t.dinput, &t.dheads, &t.dq, &t.dk, &t.dv, &t.dgate, &t.dup})
    bytes += 4 * m->size();
  EXPECT_EQ(bytes, layer_trace_bytes(layer.config, layer.shape.tokens));
}

TEST_P(LayerGradient, InputMatchesFiniteDifferences) {
  LayerTrace trace;
  layer.forward(place, trace);
  Matrix<float> dx(layer.x.rows(), layer.x.cols());
  const MatrixView<float> view = dx.view();
  layer.backward(place, trace, &view);
  const oracle::LlamaLayer wide = layer.wide();
  const Rows expected =
      oracle::slopes([&](const Rows& at) { return layer.loss(at, wide); }, widen(layer.x.view()));
  EXPECT_LE(oracle::relative_difference(dx.view(), expected), kTolerance);
}

TEST(LayerTraces, AreReusedForOtherWindowsAndInPlace) {
  const Place place = cpu_place(1);
  const SmallLayer longer({5, 4, 2}), shorter({3, 4, 2});
  LayerTrace used, fresh;
  longer.forward(place, used);
  longer.backward(place, used);
  const Matrix<float> a = shorter.forward(place, used), b = shorter.forward(place, fresh);
  EXPECT_TRUE(same_bytes(a.view(), b.view()));
  const auto ga = shorter.backward(place, used);
  Matrix<float> dx(3, 5), over = shorter.dy.clone();
  const MatrixView<float> dx_view = dx.view(), over_view = over.view();
  const auto gb = shorter.backward(place, fresh, &dx_view);
  for (const Linear linear : kLinears)
    EXPECT_TRUE(same_bytes(ga.at(linear).view(), gb.at(linear).view()));
  layer_backward(
      place, shorter.config, shorter.weights, shorter.rope, shorter.x.view(), over_view, fresh,
      [](Linear, MatrixView<const float>, MatrixView<const float>) {}, &over_view);
  EXPECT_TRUE(same_bytes(over.view(), dx.view())) << "dx in place of dy";
}

}  // namespace
}  // namespace bitgrid
