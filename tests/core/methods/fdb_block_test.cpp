#include "core/methods/fdb_block.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "core/methods/fdb.hpp"
#include "core/methods/resolve_recipe.hpp"
#include "core/methods/stored_arrays.hpp"
#include "kernels/fdb_rows.hpp"
#include "tests/core/methods/solo_layer_work.hpp"
#include "tests/core/methods/solo_work.hpp"
#include "tests/oracle/finite_differences.hpp"
#include "tests/oracle/llama_oracle.hpp"

namespace bitgrid {
namespace {
using oracle::random_matrix;
using oracle::Rows;
using oracle::same_bytes;
using oracle::widen;
using test::SoloLayerWork;
using test::SoloTapWork;

constexpr double kTheta = 1e4;
constexpr std::int64_t kGroup = 6;  // divides 12, 24 and 18
constexpr std::int64_t kWindows = 6, kLength = 5;

LlamaConfig small_config() {
  LlamaConfig config;
  config.hidden_size = 12;
  config.intermediate_size = 18;
  config.layer_count = 1;
  config.head_count = 4;
  config.kv_head_count = 2;
  config.head_size = 6;
  config.vocab_size = 3;
  config.rms_norm_eps = 1e-5;
  config.rope_theta = kTheta;
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

oracle::LlamaLayer widen_layer(const LayerWeights& weights) {
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

Rows& rows_of(oracle::LlamaLayer& layer, Linear linear) {
  Rows* rows[] = {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down};
  return *rows[static_cast<int>(linear)];
}

// A layer, its windows, and its linears rounded to two planes.
class BlockTest : public testing::Test {
 protected:
  Recipe recipe(std::int64_t epochs, std::int64_t batches, double rate) const {
    return resolve_recipe("fdb-block", 2, kGroup,
                          {{"epochs", epochs}, {"batches", batches}, {"rate", rate}});
  }

  // Without feedback, for data play no part here.
  void round_all() {
    const Recipe fdb = resolve_recipe("fdb", 2, kGroup, {});
    SoloTapWork work(place);
    stored.clear();
    for (const Linear linear : kLinears) {
      RoundedLinear rounded = test::round_linear(place, fdb, layer[linear].view(), work);
      rounded.stored.name = linear_name(linear);
      stored.push_back(std::move(rounded.stored));
    }
  }
  LayerWeights weights_of(const std::vector<QuantizedLinear>& linears) const {
    LayerWeights weights = clone_layer(layer);
    for (std::size_t i = 0; i < linears.size(); ++i)
      weights.linears[i] = rebuild_weight(place, linears[i]);
    return weights;
  }
  Matrix<float> targets() const {
    Matrix<float> y = x.clone();
    LayerScratch scratch;
    for (std::int64_t w = 0; w < kWindows; ++w)
      layer_forward(place, config, layer, rope, y.rows_from(w * kLength, kLength), scratch);
    return y;
  }
  TunedLayer tune(const Recipe& with, const Place& on) {
    const Matrix<float> target = targets();
    const LayerWeights rounded = weights_of(stored);
    SoloLayerWork work(on, x.view(), target.view(), kWindows);
    const TunedLayer tuned = tune_fdb_scales(on, {0, 0, with, config, rope, rounded}, stored, work);
    sums = work.sums;
    return tuned;
  }
  TunedLayer tune(const Recipe& with) { return tune(with, place); }

  // L in fp64, from a layer's weights.
  double oracle_loss(const oracle::LlamaLayer& rounded) const {
    const oracle::LlamaShape shape{4, 2, 6, config.rms_norm_eps, kTheta};
    const oracle::LlamaLayer original = widen_layer(layer);
    double off = 0, added = 0;
    for (std::int64_t w = 0; w < kWindows; ++w) {
      const Rows in = widen(x.rows_from(w * kLength, kLength));
      const Rows y = oracle::layer_forward(in, original, shape);
      const Rows q = oracle::layer_forward(in, rounded, shape);
      for (std::size_t t = 0; t < in.size(); ++t)
        for (std::size_t j = 0; j < in[t].size(); ++j) {
          off += (q[t][j] - y[t][j]) * (q[t][j] - y[t][j]);
          added += (y[t][j] - in[t][j]) * (y[t][j] - in[t][j]);
        }
    }
    return off / added;
  }
  double oracle_loss(const std::vector<QuantizedLinear>& linears) const {
    return oracle_loss(widen_layer(weights_of(linears)));
  }

  // ∂L/∂α of scale `which` (1, 2) of a row's group, by finite differences: α moves what its plane
  // selects.
  double oracle_slope(const QuantizedLinear& linear, Linear which_linear, int which,
                      std::int64_t row, std::int64_t group) const {
    const Matrix<std::uint8_t> plane =
        read_packed(linear, which == 1 ? "plane1" : "plane2", linear.rows, linear.cols, 1);
    const double step = 1e-5;
    double loss[2];
    for (const int side : {0, 1}) {
      oracle::LlamaLayer moved = widen_layer(weights_of(stored));
      oracle::Row& w = rows_of(moved, which_linear)[static_cast<std::size_t>(row)];
      for (std::int64_t j = group * kGroup; j < (group + 1) * kGroup; ++j)
        w[static_cast<std::size_t>(j)] += (side == 0 ? -step : step) * plane(row, j);
      loss[side] = oracle_loss(moved);
    }
    return (loss[1] - loss[0]) / (2 * step);
  }

  static float loss_at(const TunedLayer& tuned, std::size_t i) {
    const StoredArray& array = tuned.arrays.at(0);
    EXPECT_EQ(array.name, "tuning_loss");
    EXPECT_FALSE(array.required);
    float value = 0;
    std::memcpy(&value, array.data.data() + i * sizeof value, sizeof value);
    return value;
  }
  static Matrix<float> scales(const QuantizedLinear& linear, const char* name) {
    return read_halves(linear, name, linear.rows, linear.cols / kGroup);
  }
  static void set_scales(QuantizedLinear& linear, const char* name, const Matrix<float>& values) {
    Matrix<std::uint16_t> bits(values.rows(), values.cols());
    for (std::int64_t i = 0; i < bits.size(); ++i) bits.data()[i] = f32_to_f16(values.data()[i]);
    for (StoredArray& array : linear.arrays)
      if (array.name == name) array = half_array(name, bits.view());
  }

  const Place place = cpu_place(1);
  const LlamaConfig config = small_config();
  const RopeTable rope = make_rope_table(config, kLength);
  LayerWeights layer = random_layer(config, 40);
  const Matrix<float> x = random_matrix(kWindows * kLength, config.hidden_size, 30);
  std::vector<QuantizedLinear> stored;
  int sums = 0;
};

// Adam's first step is one rate against the sign of each slope, whatever its size.
TEST_F(BlockTest, FirstStepGoesAgainstTheSlopeOfEveryScale) {
  round_all();
  const double rate = 1.0 / 64;
  const TunedLayer tuned = tune(recipe(1, 1, rate));
  ASSERT_EQ(tuned.linears.size(), stored.size());
  int moved = 0, all = 0;
  for (const Linear linear : kLinears) {
    const auto i = static_cast<std::size_t>(linear);
    const Matrix<float> a1 = scales(stored[i], "scales1"), a2 = scales(stored[i], "scales2");
    for (const int which : {1, 2}) {
      const char* name = which == 1 ? "scales1" : "scales2";
      const Matrix<float> before = scales(stored[i], name), after = scales(tuned.linears[i], name);
      for (std::int64_t r = 0; r < before.rows(); r += 5)
        for (std::int64_t g = 0; g < before.cols(); ++g) {
          const double unit = std::max(std::fabs(a1(r, g)), std::fabs(a2(r, g)));
          const double slope = oracle_slope(stored[i], linear, which, r, g);
          ++all;
          if (std::fabs(slope) * unit < 1e-7) continue;  // rounding decides its sign
          ++moved;
          EXPECT_NEAR(after(r, g), before(r, g) - std::copysign(rate * unit, slope), unit * 0x1p-10)
              << linear_name(linear) << " row " << r << ", group " << g << ", scale " << which;
        }
    }
  }
  EXPECT_GT(moved, all * 9 / 10);
}

TEST_F(BlockTest, ReportedLossesAreThoseOfTheStoredWeights) {
  round_all();
  const TunedLayer tuned = tune(recipe(10, 2, 0.02));
  ASSERT_EQ(tuned.linears.size(), stored.size());
  EXPECT_LT(loss_at(tuned, 1), 0.8f * loss_at(tuned, 0));
  EXPECT_NEAR(loss_at(tuned, 0), oracle_loss(stored), 1e-5);
  EXPECT_NEAR(loss_at(tuned, 1), oracle_loss(tuned.linears), 1e-5);
  EXPECT_EQ(sums, 10 * 2 + 2);
}

// Where fp16 is coarse the loss is that of the scales as they are stored: v's are subnormal, some
// five steps of 2^-24, and o brings its outputs back to where they matter.
TEST_F(BlockTest, TheLossIsTakenBehindRounding) {
  const auto scale = [&](Linear linear, float factor) {
    for (std::int64_t i = 0; i < layer[linear].size(); ++i) layer[linear].data()[i] *= factor;
  };
  scale(Linear::v, 0x1p-20f);
  scale(Linear::o, 0x1p15f);
  scale(Linear::down, 0x1p-5f);
  round_all();
  const TunedLayer tuned = tune(recipe(30, 1, 0.03));
  ASSERT_EQ(tuned.linears.size(), stored.size());
  EXPECT_NEAR(loss_at(tuned, 1), oracle_loss(tuned.linears), 1e-4 * loss_at(tuned, 1));
}

// What can be represented is found again from scales that are a little off.
TEST_F(BlockTest, FindsScalesThatGiveTheLayerItself) {
  round_all();
  layer = weights_of(stored);
  for (std::size_t i = 0; i < stored.size(); ++i)
    for (const char* name : {"scales1", "scales2"}) {
      Matrix<float> values = scales(stored[i], name);
      for (std::int64_t j = 0; j < values.size(); ++j)
        values.data()[j] *= (static_cast<std::size_t>(j) + i) % 2 == 0 ? 1.04f : 0.96f;
      set_scales(stored[i], name, values);
    }
  const TunedLayer tuned = tune(recipe(150, 1, 0.01));
  EXPECT_GT(loss_at(tuned, 0), 1e-4f);
  EXPECT_LT(loss_at(tuned, 1), 0.02f * loss_at(tuned, 0));
}

TEST_F(BlockTest, OnlyScalesChange) {
  round_all();
  const TunedLayer tuned = tune(recipe(2, 2, 0.01));
  ASSERT_EQ(tuned.linears.size(), stored.size());
  for (std::size_t i = 0; i < stored.size(); ++i) {
    QuantizedLinear undone = tuned.linears[i];
    EXPECT_NE(undone.arrays, stored[i].arrays) << stored[i].name;
    set_scales(undone, "scales1", scales(stored[i], "scales1"));
    set_scales(undone, "scales2", scales(stored[i], "scales2"));
    EXPECT_EQ(undone.arrays, stored[i].arrays) << stored[i].name;
    EXPECT_EQ(tuned.linears[i].name, stored[i].name);
    EXPECT_EQ(tuned.linears[i].bits_per_weight(), stored[i].bits_per_weight());
  }
}

TEST_F(BlockTest, KeepsTheRoundedLayerWhereTheLossDoesNotFall) {
  round_all();
  const TunedLayer tuned = tune(recipe(1, 1, 1.0));  // every scale by its own size
  EXPECT_TRUE(tuned.linears.empty());
  EXPECT_GE(loss_at(tuned, 1), loss_at(tuned, 0));
}

TEST_F(BlockTest, AnExactLayerIsLeftAlone) {
  round_all();
  layer = weights_of(stored);
  const TunedLayer tuned = tune(recipe(3, 2, 0.01));
  EXPECT_TRUE(tuned.linears.empty());
  EXPECT_EQ(loss_at(tuned, 0), 0.0f);
  EXPECT_EQ(sums, 1);
}

TEST_F(BlockTest, GroupsOfZerosStayAndOrderedGroupsStayOrdered) {
  for (std::int64_t j = 0; j < kGroup; ++j) layer[Linear::gate](3, j) = 0.0f;
  round_all();
  QuantizedLinear& up = stored[static_cast<std::size_t>(Linear::up)];
  Matrix<float> a1 = scales(up, "scales1"), a2 = scales(up, "scales2");
  for (std::int64_t i = 0; i < a1.size(); ++i) a2.data()[i] = -0.94f * a1.data()[i];
  set_scales(up, "scales2", a2);
  const TunedLayer tuned = tune(recipe(4, 3, 0.03));
  ASSERT_EQ(tuned.linears.size(), stored.size());
  const QuantizedLinear& gate = tuned.linears[static_cast<std::size_t>(Linear::gate)];
  EXPECT_EQ(scales(gate, "scales1")(3, 0), 0.0f);
  EXPECT_EQ(scales(gate, "scales2")(3, 0), 0.0f);
  const QuantizedLinear& after = tuned.linears[static_cast<std::size_t>(Linear::up)];
  const Matrix<float> b1 = scales(after, "scales1"), b2 = scales(after, "scales2");
  int at_limit = 0;
  for (std::int64_t i = 0; i < b1.size(); ++i) {
    if (a1.data()[i] == 0.0f) continue;
    const double ratio = -static_cast<double>(b2.data()[i]) / static_cast<double>(b1.data()[i]);
    EXPECT_GT(ratio, 0);
    EXPECT_LE(ratio, 0.95 + 0x1p-10);
    EXPECT_GT(b1.data()[i] * a1.data()[i], 0.0f);
    at_limit += ratio > 0.9499 ? 1 : 0;
  }
  EXPECT_GT(at_limit, 0);  // else nothing was held back
}

TEST_F(BlockTest, MoreBatchesThanWindowsAreAsManyAsWindows) {
  round_all();
  const TunedLayer some = tune(recipe(2, kWindows, 0.01)), many = tune(recipe(2, 1000, 0.01));
  EXPECT_EQ(sums, 2 * kWindows + 2);
  ASSERT_EQ(some.linears.size(), many.linears.size());
  for (std::size_t i = 0; i < some.linears.size(); ++i)
    EXPECT_EQ(some.linears[i].code_hash(), many.linears[i].code_hash());
}

TEST_F(BlockTest, ResultsDoNotDependOnThreads) {
  round_all();
  const TunedLayer one = tune(recipe(3, 2, 0.01));
  for (const int threads : {2, 5}) {
    const Place place_of = cpu_place(threads);
    const TunedLayer more = tune(recipe(3, 2, 0.01), place_of);
    ASSERT_EQ(one.linears.size(), more.linears.size());
    EXPECT_EQ(one.arrays, more.arrays);
    for (std::size_t i = 0; i < one.linears.size(); ++i)
      EXPECT_EQ(one.linears[i].arrays, more.linears[i].arrays) << threads;
  }
}

TEST_F(BlockTest, ALossThatIsNotANumberChangesNothing) {
  round_all();
  Matrix<float> huge = scales(stored[0], "scales1");
  huge(0, 0) = std::numeric_limits<float>::infinity();
  set_scales(stored[0], "scales1", huge);
  const TunedLayer tuned = tune(recipe(1, 1, 0.01));
  EXPECT_TRUE(tuned.linears.empty());
  EXPECT_TRUE(std::isnan(loss_at(tuned, 0)));
}

TEST(MeasureAgain, IsTheObjectiveOfTheColumnLoops) {
  const Place place = cpu_place(1);
  const Matrix<float> w = random_matrix(5, 12, 1), q = random_matrix(5, 12, 2),
                      x = random_matrix(30, 12, 3);
  const Recipe recipe = resolve_recipe("fdb-block", 2, kGroup, {});
  SoloTapWork work(place, x.view(), {.gram = true});
  LinearDiagnostics diagnostics;
  LinearDiagnostics* out[] = {&diagnostics};
  const MatrixView<const float> weights[] = {q.view()};
  measure_again(place, test::task_of(recipe, {w.view()}), work, weights, out);
  const Rows y = oracle::linear(widen(x.view()), widen(w.view()));
  const Rows z = oracle::linear(widen(x.view()), widen(q.view()));
  Rows off = y;
  for (std::size_t t = 0; t < off.size(); ++t)
    for (std::size_t r = 0; r < off[t].size(); ++r) off[t][r] -= z[t][r];
  EXPECT_NEAR(diagnostics.loss, oracle::dot(off, off) / 30, 1e-5 * diagnostics.loss);
  EXPECT_NEAR(diagnostics.relative_output_error, oracle::dot(off, off) / oracle::dot(y, y), 1e-5);
  double weight_off = 0, weight = 0;
  for (std::int64_t i = 0; i < w.size(); ++i) {
    weight_off += std::pow(static_cast<double>(w.data()[i]) - static_cast<double>(q.data()[i]), 2);
    weight += std::pow(static_cast<double>(w.data()[i]), 2);
  }
  EXPECT_NEAR(diagnostics.relative_weight_error, weight_off / weight, 1e-5);
}

}  // namespace
}  // namespace bitgrid
