#include "core/methods/smoothquant.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <utility>

#include "core/methods/activation_grids.hpp"
#include "core/methods/recipe_needs.hpp"
#include "core/methods/resolve_recipe.hpp"
#include "core/methods/stored_arrays.hpp"
#include "core/model/segments.hpp"
#include "kernels/error.hpp"
#include "tests/core/methods/solo_work.hpp"
#include "tests/oracle/random.hpp"
#include "tests/tolerance.hpp"

namespace bitgrid::test {
namespace {

using testing::HasSubstr;
using Options = std::map<std::string, OptionValue>;

Recipe smoothquant(double bits, const Options& options = {}, const char* chain = "smoothquant") {
  return resolve_recipe(chain, bits, -1, options);
}

std::vector<std::uint8_t> codes_of(const QuantizedLinear& linear) {
  const Matrix<std::uint8_t> codes =
      read_packed(linear, "codes", linear.rows, linear.cols, linear.bits);
  return {codes.data(), codes.data() + codes.size()};
}

// The vector of the paper's formula worked out by hand.
TEST(SmoothQuant, FactorsScaledWeightsAndCodes) {
  const std::vector<float> a = {8.0f, 0.5f}, v = {0.2f, 0.4f};
  const std::vector<float> s = smoothing_factors("reference", 0.5, a, v);
  EXPECT_NEAR(s[0], 6.324555, 1e-5);
  EXPECT_NEAR(s[1], 1.118034, 1e-6);
  Matrix<float> w(2, 2);
  const float values[] = {0.1f, -0.4f, 0.2f, 0.3f};
  for (std::int64_t i = 0; i < 4; ++i) w.data()[i] = values[i] * s[static_cast<std::size_t>(i % 2)];
  EXPECT_NEAR(w(0, 0), 0.632456, 1e-6);
  EXPECT_NEAR(w(0, 1), -0.447214, 1e-6);
  EXPECT_NEAR(w(1, 0), 1.264911, 1e-6);
  EXPECT_NEAR(w(1, 1), 0.335410, 1e-6);
  const Place place = cpu_place(1);
  SoloTapWork work(place);
  const RoundedLinear rounded = round_linear(place, smoothquant(8), w.view(), work);
  const Matrix<float> scales = read_scales(rounded.stored, "scales", 2, 1);
  EXPECT_NEAR(scales(0, 0), 0.632456 / 127, 1e-8);
  EXPECT_NEAR(scales(1, 0), 1.264911 / 127, 1e-8);
  EXPECT_EQ(codes_of(rounded.stored),
            (std::vector<std::uint8_t>{128 + 127, 128 - 90, 128 + 127, 128 + 34}));
  EXPECT_EQ(rounded.weight(0, 1), scales(0, 0) * -90);
}

TEST(SmoothQuant, FactorsOfEveryRule) {
  const std::vector<float> a = {0, 4, 4, 1e-20f, 3}, v = {1, 0, 1e-9f, 1, 0.25f};
  EXPECT_THAT(smoothing_factors("reference", 0.5, a, v),
              testing::Pointwise(testing::FloatNear(1e-3f),
                                 {1.0f, 1.0f, 632.4555f, 1e-5f, std::sqrt(12.0f)}));
  const std::vector<float> compressor = smoothing_factors("llm-compressor", 0.5, a, v);
  EXPECT_EQ(compressor[0], 1);
  EXPECT_EQ(compressor[1], 4);
  EXPECT_NEAR(compressor[2], std::sqrt(4e9), 1);
  EXPECT_EQ(compressor[3], 1e-5f);
  const std::vector<float> logarithmic = smoothing_factors("logarithmic", 0.5, a, v);
  EXPECT_EQ(logarithmic[0], 1);
  EXPECT_NEAR(logarithmic[4], 3 / std::log2(5.0), 1e-6);
}

// What the rules by range are made from.
TEST(SmoothQuant, RangesOfChannels) {
  Matrix<float> x = Random(8).normals(7 * 6, 33);
  for (std::int64_t t = 0; t < x.rows(); ++t) {
    x(t, 2) = 3 + std::fabs(x(t, 2));   // never negative
    x(t, 5) = -1 - std::fabs(x(t, 5));  // never positive
  }
  const Place place = cpu_place(2);
  for (const std::int64_t shards : {1, 4, 16}) {
    const SoloTapWork work(place, x.view(), {.ranges = true}, 7, shards);
    for (std::int64_t j = 0; j < x.cols(); ++j) {
      float lo = x(0, j), hi = x(0, j);
      for (std::int64_t t = 0; t < x.rows(); ++t) {
        lo = std::min(lo, x(t, j));
        hi = std::max(hi, x(t, j));
      }
      ASSERT_EQ(work.statistics().lowest[static_cast<std::size_t>(j)], lo);
      ASSERT_EQ(work.statistics().highest[static_cast<std::size_t>(j)], hi);
    }
  }
}

LlamaConfig config_of(std::int64_t heads, std::int64_t kv_heads) {
  LlamaConfig config;
  config.hidden_size = 24;
  config.intermediate_size = 37;
  config.layer_count = 1;
  config.head_count = heads;
  config.kv_head_count = kv_heads;
  config.head_size = 6;
  config.rms_norm_eps = 1e-5;
  return config;
}

LayerWeights layer_of(const LlamaConfig& config, std::uint64_t seed) {
  Random random(seed);
  LayerWeights w;
  w.input_norm = random.normals(1, config.hidden_size);
  w.post_attention_norm = random.normals(1, config.hidden_size);
  w.input_norm(0, 3) = 30;  // an outlier channel
  for (const Linear linear : kLinears)
    w[linear] = random.normals(linear_rows(config, linear), linear_cols(config, linear), 0.3);
  return w;
}

constexpr std::int64_t kTokens = 40;

// A layer, its input, and what a transform makes of it.
struct Smoothed {
  Smoothed(const Recipe& r, std::int64_t heads, std::int64_t kv_heads,
           const LayerWeights* given = nullptr)
      : recipe(r),
        config(config_of(heads, kv_heads)),
        rope(make_rope_table(config, kTokens)),
        weights(given != nullptr ? clone_layer(*given) : layer_of(config, 5)),
        x(Random(6).normals(kTokens, config.hidden_size)) {
    const auto transform = start_smoothquant({0, 0, recipe, config, rope, weights});
    const std::array<Matrix<float>, kTapCount> taps = walk(weights).taps;
    for (const Tap tap : kTaps) {
      SoloTapWork work(place, taps[static_cast<std::size_t>(tap)].view(),
                       recipe_needs(recipe).transforms.front());
      transform->at_tap(place, tap, work);
    }
    done = transform->finish(place);
  }

  struct Walk {
    std::array<Matrix<float>, kTapCount> taps;
    Matrix<float> output;
  };
  Walk walk(const LayerWeights& w) const {
    Walk walk;
    for (const Tap tap : kTaps)
      walk.taps[static_cast<std::size_t>(tap)] = Matrix<float>(kTokens, tap_size(config, tap));
    auto& t = walk.taps;
    walk.output = x.clone();
    SegmentScratch scratch;
    attention_input(place, config, w, walk.output.view(), t[0].view());
    attention_output(place, config, w, rope, t[0].view(), t[1].view(), scratch);
    mlp_input(place, config, w, t[1].view(), walk.output.view(), t[2].view(), scratch);
    mlp_hidden(place, config, w, t[2].view(), t[3].view(), scratch);
    layer_output(place, config, w, t[3].view(), walk.output.view(), scratch);
    return walk;
  }
  const StoredArray* array(const std::string& name) const {
    for (const StoredArray& a : done.arrays)
      if (a.name == name) return &a;
    return nullptr;
  }

  Place place = cpu_place(2);
  Recipe recipe;
  LlamaConfig config;
  RopeTable rope;
  LayerWeights weights;
  Matrix<float> x;
  TransformedLayer done;
};

double largest(const Matrix<float>& m) {
  double largest = 0;
  for (std::int64_t i = 0; i < m.size(); ++i)
    largest = std::max<double>(largest, std::fabs(m.data()[i]));
  return largest;
}

double difference(const Matrix<float>& a, const Matrix<float>& b) {
  double largest = 0;
  for (std::int64_t i = 0; i < a.size(); ++i)
    largest = std::max<double>(largest, std::fabs(a.data()[i] - b.data()[i]));
  return largest;
}

// In exact arithmetic nothing but the range of channels changes, although the norms' weights are
// rounded to bf16.
TEST(SmoothQuant, TheLayerStaysTheSameFunction) {
  for (const auto& [heads, kv_heads] : {std::pair<std::int64_t, std::int64_t>{4, 4}, {4, 2}})
    for (const bool pairs : {false, true})
      for (const char* rule : {"reference", "llm-compressor", "logarithmic"}) {
        const Smoothed s(smoothquant(8, {{"linear_pairs", pairs}, {"rule", std::string(rule)}}),
                         heads, kv_heads);
        const Smoothed::Walk before = s.walk(s.weights), after = s.walk(s.done.weights);
        EXPECT_LT(difference(before.output, after.output),
                  dot_tolerance(200, largest(before.output)));
        for (std::int64_t j = 0; j < s.config.hidden_size; ++j) {
          const float norm = s.done.weights.input_norm(0, j);
          ASSERT_EQ(norm, bf16_to_f32(f32_to_bf16(norm)));
        }
        const auto tap = [](const Smoothed::Walk& walk, Tap t) -> const Matrix<float>& {
          return walk.taps[static_cast<std::size_t>(t)];
        };
        for (const Tap t : {Tap::attention_input, Tap::mlp_input})
          EXPECT_GT(difference(tap(before, t), tap(after, t)), 0.1);
        // Pairs of linears: with grouped queries o's input cannot be smoothed.
        const double tiny = dot_tolerance(100, largest(tap(before, Tap::attention_output)));
        EXPECT_EQ(difference(tap(before, Tap::attention_output),
                             tap(after, Tap::attention_output)) > tiny,
                  pairs && heads == kv_heads);
        EXPECT_EQ(difference(tap(before, Tap::mlp_hidden), tap(after, Tap::mlp_hidden)) >
                      dot_tolerance(200, largest(tap(before, Tap::mlp_hidden))),
                  pairs);
      }
}

// s_j as the formula has it, up to the rounding of γ/s: what is applied is exactly γ/γ'.
TEST(SmoothQuant, ColumnsTakeTheFactorThatTheStoredNormMakes) {
  const Smoothed s(smoothquant(8), 4, 2);
  const Smoothed::Walk walk = s.walk(s.weights);
  for (std::int64_t j = 0; j < s.config.hidden_size; ++j) {
    double a = 0, v = 0;
    for (std::int64_t t = 0; t < kTokens; ++t)
      a = std::max<double>(a, std::fabs(walk.taps[0](t, j)));
    for (const Linear linear : linears_of(Tap::attention_input))
      for (std::int64_t r = 0; r < s.weights[linear].rows(); ++r)
        v = std::max<double>(v, std::fabs(s.weights[linear](r, j)));
    const double expected = std::pow(a, 0.85) / std::pow(v, 0.15);
    const float factor = s.weights.input_norm(0, j) / s.done.weights.input_norm(0, j);
    EXPECT_NEAR(factor / expected, 1, 0x1p-8);
    for (const Linear linear : linears_of(Tap::attention_input))
      for (std::int64_t r = 0; r < s.weights[linear].rows(); ++r)
        ASSERT_EQ(s.done.weights[linear](r, j), s.weights[linear](r, j) * factor);
  }
}

TEST(SmoothQuant, DeadChannelsAreLeftAlone) {
  const LlamaConfig config = config_of(4, 2);
  LayerWeights w = layer_of(config, 9);
  w.input_norm(0, 7) = 0;  // no activation
  for (const Linear linear : linears_of(Tap::attention_input))
    for (std::int64_t r = 0; r < w[linear].rows(); ++r) w[linear](r, 11) = 0;  // no weight
  const Smoothed s(smoothquant(4), 4, 2, &w);
  EXPECT_EQ(s.done.weights.input_norm(0, 7), 0);
  EXPECT_EQ(s.done.weights[Linear::q](2, 7), w[Linear::q](2, 7));
  EXPECT_EQ(s.done.weights.input_norm(0, 11), bf16_to_f32(f32_to_bf16(w.input_norm(0, 11))));
}

// A layer that comes from the store is the one that was made.
TEST(SmoothQuant, LayerArraysReplayNormsAndGrids) {
  const Smoothed s(
      smoothquant(6, {{"activation_range", std::string("static")}, {"qkv_bits", std::int64_t{8}}}),
      4, 2);
  LayerWeights fresh = clone_layer(s.done.weights);
  LayerWeights stored = clone_layer(s.weights);
  apply_layer_arrays(s.recipe, s.done.arrays, fresh);
  apply_layer_arrays(s.recipe, s.done.arrays, stored);
  EXPECT_EQ(difference(stored.input_norm, s.done.weights.input_norm), 0);
  EXPECT_EQ(difference(stored.post_attention_norm, s.done.weights.post_attention_norm), 0);
  EXPECT_EQ(difference(fresh.input_norm, s.done.weights.input_norm), 0);
  EXPECT_EQ(stored.activations, fresh.activations);
  EXPECT_EQ(stored.activations.qkv, (ActivationGrid{8, true, RangeOf::token, 0}));
  // Scales are the largest magnitudes that the smoothed layer shows, over qmax.
  const Smoothed::Walk walk = s.walk(s.done.weights);
  for (const Tap tap : kTaps) {
    const double expected = largest(walk.taps[static_cast<std::size_t>(tap)]) / 31;
    EXPECT_EQ(fresh.activations[tap].bits, 6);
    EXPECT_EQ(fresh.activations[tap].range, RangeOf::fixed);
    EXPECT_NEAR(fresh.activations[tap].scale, expected, 1e-4 * expected);
  }
  // The factors are there to be looked at.
  EXPECT_NE(s.array("smoothing.self_attn.q_proj"), nullptr);
  EXPECT_NE(s.array("smoothing.mlp.gate_proj"), nullptr);
  EXPECT_EQ(s.array("smoothing.mlp.down_proj"), nullptr);
}

TEST(SmoothQuant, RefusesLayerArraysThatDoNotFit) {
  const Smoothed s(smoothquant(8, {{"activation_range", std::string("static")}}), 4, 2);
  const auto refuse = [&](const std::string& name,
                          const std::function<void(StoredArray&)>& damage) {
    std::vector<StoredArray> arrays = s.done.arrays;
    for (StoredArray& a : arrays)
      if (a.name == name) damage(a);
    LayerWeights w = clone_layer(s.weights);
    try {
      apply_layer_arrays(s.recipe, arrays, w);
      ADD_FAILURE() << name;
    } catch (const Error& e) {
      EXPECT_THAT(e.what(), HasSubstr("'activation_scale'"));
    }
  };
  const auto set = [](float value) {
    return [value](StoredArray& a) { std::memcpy(a.data.data() + 4, &value, 4); };
  };
  refuse("activation_scale", [](StoredArray& a) { a.name = "x"; });
  refuse("activation_scale", [](StoredArray& a) { a.shape = {3}; });
  refuse("activation_scale", [](StoredArray& a) { a.data.pop_back(); });
  refuse("activation_scale", [](StoredArray& a) { a.dtype = DType::i32; });
  refuse("activation_scale", set(0));
  refuse("activation_scale", set(-1));
  refuse("activation_scale", set(std::nanf("")));
  refuse("activation_scale", set(INFINITY));
}

// What it is for: with an outlier channel behind either norm, per-token activations lose less once
// it is smoothed. Rounded by the same recipe, so that nothing else can be what helps.
TEST(SmoothQuant, OutliersCostLess) {
  LayerWeights outliers = layer_of(config_of(4, 2), 5);
  outliers.post_attention_norm(0, 7) = -30;
  const Recipe recipe = smoothquant(8, {{"alpha", 0.5}, {"activation_bits", std::int64_t{6}}});
  const Smoothed s(recipe, 4, 2, &outliers);
  const auto error = [&](const LayerWeights& weights) {
    LayerWeights w = clone_layer(weights);
    SoloTapWork work(s.place);
    for (const Linear linear : kLinears)
      w[linear] = std::move(round_linear(s.place, recipe, w[linear].view(), work).weight);
    w.activations = recipe_activation_grids(recipe);
    return difference(s.walk(w).output, s.walk(s.weights).output);
  };
  EXPECT_LT(error(s.done.weights), 0.5 * error(s.weights));
}

TEST(SmoothQuant, RecipesAndNames) {
  EXPECT_EQ(recipe_name(smoothquant(8)), "smoothquant-w8-a8-pc");
  EXPECT_EQ(recipe_name(smoothquant(4, {{"activation_bits", std::int64_t{8}}})),
            "smoothquant-w4-a8-pc");
  EXPECT_EQ(recipe_name(smoothquant(6, {}, "smoothquant+rtn")), "smoothquant-w6-a6-pc");
  EXPECT_EQ(recipe_name(smoothquant(4, {{"symmetric", false}}, "smoothquant+gptq")),
            "smoothquant+gptq-w4-a4-pc-symmetric=false");
  EXPECT_EQ(smoothquant(8).chain, (std::vector<std::string>{"smoothquant", "rtn"}));
  EXPECT_TRUE(smoothquant(8, {}, "smoothquant+gptq").flag("symmetric"));
  // Any chain takes activation_bits; 16 is as good as nothing.
  EXPECT_EQ(recipe_name(smoothquant(8, {{"activation_bits", std::int64_t{8}}}, "rtn")),
            "rtn-w8-a8-pc");
  EXPECT_EQ(smoothquant(8, {{"activation_bits", std::int64_t{16}}}, "rtn"),
            smoothquant(8, {}, "rtn"));
  EXPECT_EQ(recipe_activation_grids(smoothquant(8, {}, "rtn")), ActivationGrids{});
  EXPECT_EQ(recipe_activation_grids(smoothquant(4, {{"activation_bits", std::int64_t{8}}}, "gptq"))
                .taps[2],
            (ActivationGrid{8, true, RangeOf::token, 0}));
}

TEST(SmoothQuant, RefusesRecipes) {
  const auto refusal = [](const Options& options, const char* chain = "smoothquant") {
    try {
      smoothquant(4, options, chain);
    } catch (const InputError& e) {
      return std::string(e.what());
    }
    return std::string("accepted");
  };
  EXPECT_THAT(refusal({{"activation_bits", std::int64_t{1}}}),
              HasSubstr("'activation_bits' must be a whole number from 2 to 16, not '1'"));
  EXPECT_THAT(refusal({{"activation_bits", std::int64_t{17}}}, "rtn"),
              HasSubstr("whole number from 2 to 16"));
  EXPECT_THAT(refusal({{"alpha", 0.0}}), HasSubstr("'alpha' must be a number above 0"));
  EXPECT_THAT(refusal({}, "smoothquant+smoothquant+gptq"),
              HasSubstr("'smoothquant' appears twice"));
  EXPECT_THAT(
      refusal({{"activation_range", std::string("static")}, {"activation_symmetric", false}}),
      HasSubstr("needs activation_symmetric = true"));
  EXPECT_THAT(refusal({{"qkv_bits", std::int64_t{8}}}, "rtn"), HasSubstr("'smoothquant'"));
}

// int8 codes per channel with one fp32 scale per row: 8 + 32/cols bits.
TEST(SmoothQuant, BitsPerWeight) {
  const Matrix<float> w = Random(1).normals(5, 128);
  const Place place = cpu_place(1);
  SoloTapWork work(place);
  const RoundedLinear rounded = round_linear(place, smoothquant(8), w.view(), work);
  EXPECT_EQ(rounded.stored.bits_per_weight(), 8.25);
  EXPECT_EQ(rounded.stored.find("zeros"), nullptr);
  const Matrix<float> again = rebuild_weight(place, rounded.stored);
  EXPECT_EQ(difference(again, rounded.weight), 0);
  const RoundedLinear twice = round_linear(place, smoothquant(8), rounded.weight.view(), work);
  EXPECT_EQ(codes_of(twice.stored), codes_of(rounded.stored));
}

// GPTQ's loop on the full-range grid: its scales are RTN's, and its output is nearer.
TEST(SmoothQuant, GptqRoundsOnTheSameGrid) {
  Random random(3);
  const Matrix<float> x = random.activations(300, 64), w = random.normals(20, 64);
  const Place place = cpu_place(1);
  const Recipe recipe = smoothquant(4, {}, "smoothquant+gptq");
  const RoundedLinear gptq = round_linear(place, recipe, w.view(), x.view());
  const RoundedLinear rtn = round_linear(place, smoothquant(4), w.view(), x.view());
  const Matrix<float> a = read_scales(gptq.stored, "scales", 20, 1);
  const Matrix<float> b = read_scales(rtn.stored, "scales", 20, 1);
  EXPECT_EQ(difference(a, b), 0);
  EXPECT_LT(gptq.stored.diagnostics.relative_output_error, 0.05);
  const auto output_error = [&](const Matrix<float>& q) {
    double sum = 0;
    for (std::int64_t t = 0; t < x.rows(); ++t)
      for (std::int64_t r = 0; r < w.rows(); ++r) {
        double y = 0;
        for (std::int64_t j = 0; j < w.cols(); ++j)
          y += static_cast<double>(x(t, j)) *
               (static_cast<double>(w(r, j)) - static_cast<double>(q(r, j)));
        sum += y * y;
      }
    return sum;
  };
  EXPECT_LT(output_error(gptq.weight), 0.8 * output_error(rtn.weight));
}

}  // namespace
}  // namespace bitgrid::test
