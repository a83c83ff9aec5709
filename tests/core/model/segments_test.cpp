#include "core/model/segments.hpp"

#include <gtest/gtest.h>

#include <utility>

#include "core/model/cost.hpp"
#include "kernels/parallel.hpp"
#include "tests/oracle/llama_oracle.hpp"

namespace bitgrid {
namespace {
using oracle::random_matrix;
using oracle::same_bytes;
using oracle::widen;

LlamaConfig small_config(std::int64_t heads, std::int64_t kv_heads) {
  LlamaConfig config;
  config.hidden_size = 20;
  config.intermediate_size = 33;
  config.layer_count = 2;
  config.head_count = heads;
  config.kv_head_count = kv_heads;
  config.head_size = 6;  // not 20 / 4
  config.vocab_size = 51;
  config.rms_norm_eps = 1e-5;
  return config;
}

LayerWeights random_layer(const LlamaConfig& config, unsigned seed) {
  LayerWeights weights;
  weights.input_norm = random_matrix(1, config.hidden_size, seed);
  weights.post_attention_norm = random_matrix(1, config.hidden_size, seed + 1);
  for (const Linear linear : kLinears)
    weights[linear] = random_matrix(linear_rows(config, linear), linear_cols(config, linear),
                                    seed + 2 + static_cast<unsigned>(linear), 0.3);
  return weights;
}

oracle::LlamaLayer widen_layer(const LayerWeights& w) {
  const auto wide = [&](Linear linear) { return widen(w[linear].view()); };
  return {widen(w.input_norm.view())[0],
          widen(w.post_attention_norm.view())[0],
          wide(Linear::q),
          wide(Linear::k),
          wide(Linear::v),
          wide(Linear::o),
          wide(Linear::gate),
          wide(Linear::up),
          wide(Linear::down)};
}

class SmallModel {
 public:
  explicit SmallModel(LlamaConfig c) : config(std::move(c)), table(make_rope_table(config, 300)) {
    for (unsigned i = 0; i < config.layer_count; ++i)
      layers.push_back(random_layer(config, 100 * (i + 1)));
  }
  void forward(const Place& place, MatrixView<float> x, LayerScratch& scratch) const {
    for (const LayerWeights& layer : layers) layer_forward(place, config, layer, table, x, scratch);
  }
  Matrix<float> forward(const Place& place, const Matrix<float>& input) const {
    Matrix<float> x = input.clone();
    LayerScratch scratch;
    forward(place, x.view(), scratch);
    return x;
  }

  LlamaConfig config;
  RopeTable table;
  std::vector<LayerWeights> layers;
};

class HeadGroups : public testing::TestWithParam<std::pair<int, int>> {};
INSTANTIATE_TEST_SUITE_P(Heads, HeadGroups,
                         testing::Values(std::pair(4, 4), std::pair(4, 2), std::pair(4, 1)));

TEST_P(HeadGroups, TwoLayersMatchPlainLoops) {
  const SmallModel model(small_config(GetParam().first, GetParam().second));
  const oracle::LlamaShape shape{static_cast<std::size_t>(GetParam().first),
                                 static_cast<std::size_t>(GetParam().second), 6, 1e-5, 10000};
  for (const std::int64_t tokens : {1, 3, 131}) {
    const Matrix<float> input = random_matrix(tokens, 20, 7);
    oracle::Rows expected = widen(input.view());
    for (const LayerWeights& layer : model.layers)
      expected = oracle::layer_forward(expected, widen_layer(layer), shape);
    const Matrix<float> found = model.forward(cpu_place(2), input);
    // Two layers of some ten operations each, the longest reduction over the tokens.
    EXPECT_LE(oracle::relative_difference(found.view(), expected), oracle::fp32_tolerance(131, 20))
        << tokens;
  }
}

TEST(SegmentsTest, EachSegmentEndsAtItsTap) {
  const LlamaConfig config = small_config(4, 2);
  const SmallModel model(config);
  const LayerWeights& layer = model.layers[0];
  const oracle::LlamaLayer wide = widen_layer(layer);
  const Place place = cpu_place(1);
  SegmentScratch scratch;
  Matrix<float> x = random_matrix(37, 20, 8);
  Matrix<float> taps[4];
  for (const Tap tap : kTaps)
    taps[static_cast<int>(tap)] = Matrix<float>(37, tap_size(config, tap));
  const double tolerance = oracle::fp32_tolerance(37, 10);

  oracle::Rows stream = widen(x.view());
  const oracle::Rows a = oracle::rms_norm(stream, wide.input_norm, 1e-5);
  attention_input(place, config, layer, x.view(), taps[0].view());
  EXPECT_LE(oracle::relative_difference(taps[0].view(), a), tolerance);

  const auto rotated = [&](const oracle::Rows& w) {
    return oracle::rope(oracle::linear(a, w), 6, 10000);
  };
  const oracle::Rows heads =
      oracle::attention(rotated(wide.q), rotated(wide.k), oracle::linear(a, wide.v), 4, 2);
  attention_output(place, config, layer, model.table, taps[0].view(), taps[1].view(), scratch);
  EXPECT_LE(oracle::relative_difference(taps[1].view(), heads), tolerance);

  stream = oracle::add(stream, oracle::linear(heads, wide.o));
  const oracle::Rows b = oracle::rms_norm(stream, wide.post_attention_norm, 1e-5);
  mlp_input(place, config, layer, taps[1].view(), x.view(), taps[2].view(), scratch);
  EXPECT_LE(oracle::relative_difference(x.view(), stream), tolerance);
  EXPECT_LE(oracle::relative_difference(taps[2].view(), b), tolerance);

  const oracle::Rows hidden =
      oracle::swiglu(oracle::linear(b, wide.gate), oracle::linear(b, wide.up));
  mlp_hidden(place, config, layer, taps[2].view(), taps[3].view(), scratch);
  EXPECT_LE(oracle::relative_difference(taps[3].view(), hidden), tolerance);

  layer_output(place, config, layer, taps[3].view(), x.view(), scratch);
  EXPECT_LE(
      oracle::relative_difference(x.view(), oracle::add(stream, oracle::linear(hidden, wide.down))),
      tolerance);
}

TEST(SegmentsTest, ALaterTokenChangesNothingBeforeIt) {
  const SmallModel model(small_config(4, 2));
  const Matrix<float> input = random_matrix(257, 20, 9);
  const Matrix<float> before = model.forward(cpu_place(1), input);
  for (const std::int64_t changed : {0, 1, 127, 128, 200, 256}) {
    Matrix<float> other = input.clone();
    for (std::int64_t j = 0; j < 20; ++j) other(changed, j) += 1.0f;
    const Matrix<float> after = model.forward(cpu_place(1), other);
    EXPECT_TRUE(same_bytes(before.rows_from(0, changed), after.rows_from(0, changed))) << changed;
    for (std::int64_t t = changed; t < 257; ++t)
      EXPECT_FALSE(same_bytes(before.rows_from(t, 1), after.rows_from(t, 1)))
          << changed << " " << t;
  }
}

// Rows behind a window's end are padding: the rows before them come out as if they were not there,
// to rounding, since the shapes of the BLAS calls differ.
TEST(SegmentsTest, PaddingOnTheRightChangesNothing) {
  const SmallModel model(small_config(4, 2));
  const Matrix<float> padded = random_matrix(150, 20, 10);
  Matrix<float> alone(101, 20);
  std::memcpy(alone.data(), padded.data(), 101 * 20 * sizeof(float));
  const Matrix<float> with = model.forward(cpu_place(1), padded);
  const Matrix<float> without = model.forward(cpu_place(1), alone);
  EXPECT_LE(oracle::relative_difference(with.rows_from(0, 101), widen(without.view())),
            oracle::fp32_tolerance(131, 20));
}

// One window after the other with all threads in each, or a window per thread, in any order: the
// same bytes.
TEST(SegmentsTest, WindowsDoNotDependOnThreadsNorOrder) {
  const SmallModel model(small_config(4, 1));
  constexpr std::int64_t windows = 5;
  std::vector<Matrix<float>> inputs;
  for (unsigned w = 0; w < windows; ++w) inputs.push_back(random_matrix(130 + w, 20, 11 + w));
  std::vector<Matrix<float>> alone;
  for (const Matrix<float>& input : inputs) alone.push_back(model.forward(cpu_place(1), input));

  const Place two = cpu_place(2);
  std::vector<LayerScratch> scratch(2);
  for (const bool nested : {false, true}) {
    std::vector<Matrix<float>> together;
    for (const Matrix<float>& input : inputs) together.push_back(input.clone());
    const auto pass = [&](std::int64_t i) {
      const auto w = static_cast<std::size_t>(windows - 1 - i);
      model.forward(two, together[w].view(),
                    scratch[static_cast<std::size_t>(parallel_thread_index())]);
    };
    if (nested)
      parallel_for(two, windows, pass);
    else
      for (std::int64_t i = 0; i < windows; ++i) pass(i);
    for (std::size_t w = 0; w < windows; ++w)
      EXPECT_TRUE(same_bytes(together[w].view(), alone[w].view()))
          << "window " << w << " nested " << nested;
  }
}

TEST(SegmentsTest, TheScratchIsWhatThePlanCounts) {
  const LlamaConfig config = small_config(4, 2);
  const SmallModel model(config);
  LayerScratch scratch;
  Matrix<float> x = random_matrix(40, 20, 12);
  model.forward(cpu_place(1), x.view(), scratch);
  const std::int64_t floats = scratch.tap_a.size() + scratch.tap_b.size() +
                              scratch.segment.a.size() + scratch.segment.b.size() +
                              scratch.segment.c.size() + scratch.segment.d.size();
  EXPECT_EQ(4 * floats, memory_bytes(config, 40).window_scratch);
}

TEST(SegmentsTest, AHugeChannelInTheResidualStreamStaysFinite) {
  const LlamaConfig config = small_config(4, 2);
  const SmallModel model(config);
  const oracle::LlamaShape shape{4, 2, 6, 1e-5, 10000};
  Matrix<float> input = random_matrix(9, 20, 13);
  for (std::int64_t t = 0; t < 9; ++t) input(t, 3) = 1e4f;
  oracle::Rows expected = widen(input.view());
  for (const LayerWeights& layer : model.layers)
    expected = oracle::layer_forward(expected, widen_layer(layer), shape);
  const Matrix<float> found = model.forward(cpu_place(1), input);
  EXPECT_LE(oracle::relative_difference(found.view(), expected), oracle::fp32_tolerance(33, 20));
}

}  // namespace
}  // namespace bitgrid
