#include "core/methods/awq.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "core/methods/awq_search.hpp"
#include "core/methods/recipe_needs.hpp"
#include "core/methods/resolve_recipe.hpp"
#include "core/methods/stored_arrays.hpp"
#include "kernels/clip_search.hpp"
#include "kernels/error.hpp"
#include "tests/core/methods/solo_work.hpp"
#include "tests/oracle/llama_oracle.hpp"
#include "tests/oracle/quantization.hpp"
#include "tests/oracle/random.hpp"

namespace bitgrid::test {
namespace {

using testing::HasSubstr;
using Options = std::map<std::string, OptionValue>;

Recipe awq(double bits, std::int64_t group, const Options& options = {}) {
  return resolve_recipe("awq", bits, group, options);
}

std::vector<double> mean_magnitudes(MatrixView<const float> x) {
  std::vector<double> m(static_cast<std::size_t>(x.cols), 0.0);
  for (std::int64_t t = 0; t < x.rows; ++t)
    for (std::int64_t j = 0; j < x.cols; ++j)
      m[static_cast<std::size_t>(j)] +=
          static_cast<double>(std::fabs(x(t, j))) / static_cast<double>(x.rows);
  return m;
}

Scales scales_of(const Recipe& recipe, const ChannelSizes& sizes) {
  Scales scales;
  for (const ScalePoint& point : scale_points(recipe))
    scales.push_back(scale_of_point(point, sizes));
  return scales;
}

constexpr float kUnitX[] = {4, 0.5f, -0.25f, 1, -3, 0.25f, 0.5f, -1.5f, 5, -0.75f, 0.75f, 0.5f};
constexpr float kUnitW[] = {-0.43f, 0.78f, -0.30f, 0.54f, -0.27f, -0.62f, -1.00f, 0.93f};

TEST(AwqSearch, MatchesTheUnitVector) {
  const Place place = cpu_place(2);
  for (const bool minmax : {false, true}) {
    const Recipe recipe = awq(3, -1, {{"minmax", minmax}});
    SoloTapWork work(place, {kUnitX, 3, 4}, recipe_needs(recipe).transforms.front());
    const ChannelSizes sizes{mean_magnitudes({kUnitX, 3, 4}), {}};
    const double m[] = {4, 0.5, 0.5, 1};
    for (std::size_t j = 0; j < 4; ++j) EXPECT_NEAR(sizes.input[j], m[j], 1e-12);
    const Scales scales = scales_of(recipe, sizes);
    const LinearTask linear{Linear::o, {kUnitW, 2, 4}, recipe};
    const std::vector<double> losses = linear_losses(place, work, {&linear, 1}, scales);
    ASSERT_EQ(losses.size(), 20u);
    EXPECT_NEAR(losses[0], 0.0584303, 1e-7);
    EXPECT_NEAR(losses[7], 0.00808800, 1e-8);
    EXPECT_NEAR(losses[8], 0.000391805, 1e-9);
    EXPECT_EQ(best_point(losses), 8);
    const std::vector<float> best = {1.515717f, 0.659754f, 0.659754f, 0.870551f};
    for (std::size_t j = 0; j < 4; ++j) EXPECT_NEAR(scales[8][j], best[j], 1e-6);
  }
}

// Of many rows only a sample meets every point: the best loss is exact, the others are estimates.
// Fewer rows at a time are not sampled, and losses are means over rows.
TEST(AwqSearch, SamplesManyRows) {
  constexpr std::int64_t kRows = 2056, kIn = 24, kTokens = 40;
  const Place place = cpu_place(2);
  const Recipe recipe = awq(3, 8);
  Matrix<float> x = oracle::random_matrix(kTokens, kIn, 5);
  for (std::int64_t t = 0; t < kTokens; ++t)
    for (std::int64_t j = 0; j < kIn; j += 7) x(t, j) *= 12;
  const Matrix<float> w = oracle::random_matrix(kRows, kIn, 6);
  SoloTapWork work(place, x.view(), recipe_needs(recipe).transforms.front());
  const Scales scales = scales_of(recipe, {mean_magnitudes(x.view()), {}});
  const LinearTask all{Linear::o, w.view(), recipe};
  const std::vector<double> losses = linear_losses(place, work, {&all, 1}, scales);
  std::vector<double> exact(losses.size(), 0.0);
  for (const std::int64_t first : {std::int64_t{0}, kRows / 2}) {
    const LinearTask half{Linear::o, w.view().rows_from(first, kRows / 2), recipe};
    const std::vector<double> part = linear_losses(place, work, {&half, 1}, scales);
    for (std::size_t i = 0; i < exact.size(); ++i) exact[i] += part[i] / 2;
  }
  const auto best = static_cast<std::size_t>(best_point(exact));
  ASSERT_EQ(best_point(losses), best_point(exact));
  EXPECT_NEAR(losses[best], exact[best], 1e-5 * exact[best]);
  for (std::size_t i = 0; i < exact.size(); ++i) {
    EXPECT_GE(losses[i], losses[best]) << "point " << i;
    EXPECT_NEAR(losses[i], exact[i], 0.1 * exact[i]) << "point " << i;
  }
}

TEST(AwqSearch, ListsItsPoints) {
  const std::vector<ScalePoint> x = scale_points(awq(4, -1));
  ASSERT_EQ(x.size(), 20u);
  for (std::size_t i = 0; i < 20; ++i) {
    EXPECT_EQ(x[i].exponent, static_cast<double>(i) / 20);
    EXPECT_FALSE(x[i].duo);
  }
  const std::vector<ScalePoint> duo = scale_points(awq(4, -1, {{"scale", "duo"}}));
  ASSERT_EQ(duo.size(), 20u);
  EXPECT_FALSE(duo[0].duo);
  EXPECT_EQ(duo[0].exponent, 0);
  for (std::size_t i = 1; i < 20; ++i) {
    EXPECT_TRUE(duo[i].duo);
    EXPECT_EQ(duo[i].exponent, static_cast<double>(i - 1) / 18);
  }
}

TEST(AwqSearch, ScalesFollowTheFormulas) {
  const ChannelSizes sizes{{4, 0.25, 0, 1e-9}, {0.5, 0.25, 0.3, 0.125}};
  // x: the last channel is floored, the dead one left out.
  const double large = std::pow(4, 0.75), middle = std::sqrt(large * 1e-4);
  const std::vector<float> x = scale_of_point({0.75, false}, sizes);
  EXPECT_NEAR(x[0], large / middle, 1e-4);
  EXPECT_NEAR(x[1], std::pow(0.25, 0.75) / middle, 1e-5);
  EXPECT_EQ(x[2], 1.0f);
  EXPECT_NEAR(x[3], 1e-4 / middle, 1e-8);
  const auto duo_size = [](double m, double w) { return std::sqrt(m) / (std::sqrt(w) + 1e-4); };
  const double top = duo_size(4, 0.5), least = 1e-4;  // floored here, too
  const std::vector<float> duo = scale_of_point({0.5, true}, sizes);
  EXPECT_NEAR(duo[0], std::sqrt(top / least), 1e-3);
  EXPECT_NEAR(duo[1], duo_size(0.25, 0.25) / std::sqrt(top * least), 1e-3);
  EXPECT_EQ(duo[2], 1.0f);
  // r = 0 is the identity, also where nothing has input, and nothing overflows.
  for (const float s : scale_of_point({0, false}, sizes)) EXPECT_EQ(s, 1.0f);
  for (const float s : scale_of_point({0.5, false}, {{0, 0, 0}, {}})) EXPECT_EQ(s, 1.0f);
  for (const float s : scale_of_point({0.95, false}, {{1e300, 1, 1e-300}, {}})) {
    EXPECT_TRUE(std::isfinite(s));
    EXPECT_GT(s, 0);
  }
}

TEST(AwqSearch, WeightSizesAreMeansOverAllRows) {
  const float a[] = {1, -2, 0, 0}, b[] = {3, 3, -1, 4, 0.5f, 1, 8, -2};
  const Recipe recipe = awq(4, 2);
  const std::vector<LinearTask> linears = {{Linear::gate, {a, 1, 4}, recipe},
                                           {Linear::up, {b, 2, 4}, recipe}};
  const std::vector<double> sizes = weight_sizes(cpu_place(2), linears);
  const double expected[] = {(0.5 + 1 + 0.5) / 3, 1, (0 + 0.25 + 1) / 3, (0 + 1 + 0.25) / 3};
  for (std::size_t j = 0; j < 4; ++j) EXPECT_NEAR(sizes[j], expected[j], 2e-6);
}

TEST(AwqSearch, BestIsTheFirstSmallestThatIsFinite) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double inf = std::numeric_limits<double>::infinity();
  const auto best = [](std::vector<double> losses) { return best_point(losses); };
  EXPECT_EQ(best({3, 1, 1, 2}), 1);
  EXPECT_EQ(best({nan, inf, 2, nan, 1}), 4);
  EXPECT_EQ(best({nan, inf}), -1);
  EXPECT_EQ(best({}), -1);
}

// A layer with random weights, and windows at its input.
struct TestLayer {
  TestLayer(std::int64_t heads, std::int64_t kv_heads, std::int64_t windows = 5,
            std::int64_t length = 23)
      : window_count(windows), window_length(length) {
    config.hidden_size = 32;
    config.intermediate_size = 48;
    config.layer_count = 1;
    config.head_count = heads;
    config.kv_head_count = kv_heads;
    config.head_size = 8;
    config.rms_norm_eps = 1e-5;
    rope = make_rope_table(config, length);
    Random random(static_cast<std::uint64_t>(heads * 10 + kv_heads));
    for (const Linear linear : kLinears)
      weights[linear] =
          random.normals(linear_rows(config, linear), linear_cols(config, linear), 0.15);
    for (Matrix<float>* norm : {&weights.input_norm, &weights.post_attention_norm}) {
      *norm = Matrix<float>(1, config.hidden_size);
      for (std::int64_t j = 0; j < norm->size(); ++j)  // as in a bf16 checkpoint
        (*norm)(0, j) = bf16_to_f32(
            f32_to_bf16(static_cast<float>(random.between(0.2, 1.5) * (j % 11 == 4 ? -6 : 1))));
    }
    x = random.activations(windows * length, config.hidden_size);
  }

  // The layer's output for all windows; taps: its inputs of the linears.
  Matrix<float> forward(const LayerWeights& w, std::vector<Matrix<float>>* taps = nullptr) const {
    const Place place = cpu_place(1);
    Matrix<float> out = x.clone();
    std::vector<Matrix<float>> seen;
    for (const Tap tap : kTaps) seen.emplace_back(x.rows(), tap_size(config, tap));
    SegmentScratch scratch;
    for (std::int64_t i = 0; i < window_count; ++i) {
      const auto rows = [&](Matrix<float>& m) {
        return m.rows_from(i * window_length, window_length);
      };
      attention_input(place, config, w, rows(out), rows(seen[0]));
      attention_output(place, config, w, rope, rows(seen[0]), rows(seen[1]), scratch);
      mlp_input(place, config, w, rows(seen[1]), rows(out), rows(seen[2]), scratch);
      mlp_hidden(place, config, w, rows(seen[2]), rows(seen[3]), scratch);
      layer_output(place, config, w, rows(seen[3]), rows(out), scratch);
    }
    if (taps != nullptr) *taps = std::move(seen);
    return out;
  }

  LayerTask task(const Recipe& recipe) const { return {0, 1, recipe, config, rope, weights}; }

  TransformedLayer transform(const Place& place, const Recipe& recipe) const {
    std::vector<Matrix<float>> taps;
    forward(weights, &taps);
    const std::unique_ptr<Transform> awq = start_awq(task(recipe));
    for (const Tap tap : kTaps) {
      SoloTapWork work(place, taps[static_cast<std::size_t>(tap)].view(),
                       recipe_needs(recipe).transforms.front(), window_count);
      awq->at_tap(place, tap, work);
    }
    return awq->finish(place);
  }

  // What the layer computes once the linears of `w` are rounded.
  Matrix<float> rounded_forward(const Recipe& recipe, const LayerWeights& w) const {
    LayerWeights rounded = clone_layer(w);
    for (const Linear linear : kLinears) {
      const Place place = cpu_place(1);
      SoloTapWork work(place);
      rounded[linear] = round_linear(place, recipe, w[linear].view(), work).weight;
    }
    return forward(rounded);
  }

  LlamaConfig config;
  RopeTable rope;
  LayerWeights weights;
  Matrix<float> x;
  std::int64_t window_count, window_length;
};

double relative_error(const Matrix<float>& found, const Matrix<float>& expected) {
  double error = 0, norm = 0;
  for (std::int64_t i = 0; i < found.size(); ++i) {
    const double off = found.data()[i] - expected.data()[i];
    error += off * off;
    norm += static_cast<double>(expected.data()[i]) * static_cast<double>(expected.data()[i]);
  }
  return std::sqrt(error / norm);
}

const StoredArray* find_array(const TransformedLayer& layer, const std::string& name) {
  for (const StoredArray& array : layer.arrays)
    if (array.name == name) return &array;
  return nullptr;
}

template <class T>
std::vector<T> values_of(const TransformedLayer& layer, const std::string& name) {
  const StoredArray* array = find_array(layer, name);
  if (array == nullptr) throw Error("no array " + name);
  std::vector<T> values(array->data.size() / sizeof(T));
  std::memcpy(values.data(), array->data.data(), array->data.size());
  return values;
}

oracle::Rows rows_of(MatrixView<const float> m) {
  oracle::Rows rows;
  for (std::int64_t r = 0; r < m.rows; ++r) rows.emplace_back(m.row(r), m.row(r) + m.cols);
  return rows;
}

// deq(round(w·diag(s)))·diag(1/s) in fp64.
oracle::Rows quantized_oracle(const GridOracle& grid, MatrixView<const float> w, std::int64_t group,
                              const std::vector<float>& s) {
  oracle::Rows rows = rows_of(w);
  for (oracle::Row& row : rows)
    for (std::size_t first = 0; first < row.size(); first += static_cast<std::size_t>(group)) {
      std::vector<double> values;
      for (std::size_t j = first; j < first + static_cast<std::size_t>(group); ++j)
        values.push_back(row[j] * static_cast<double>(s[j]));
      const ScaleZero g = grid_oracle(grid, values);
      for (std::size_t j = 0; j < values.size(); ++j)
        row[first + j] = g.scale * (code_oracle(grid, values[j], g) - g.zero) /
                         static_cast<double>(s[first + j]);
    }
  return rows;
}

double mean_square_difference(const oracle::Rows& a, const oracle::Rows& b) {
  double sum = 0;
  for (std::size_t t = 0; t < a.size(); ++t)
    for (std::size_t j = 0; j < a[t].size(); ++j) sum += (a[t][j] - b[t][j]) * (a[t][j] - b[t][j]);
  return sum / static_cast<double>(a.size() * a[0].size());
}

// A code on a tie may fall to the other side in fp32 and move a loss a little.
constexpr double kLossTolerance = 2e-3;

struct SearchCase {
  Tap tap;
  const char* search;
};
class AwqLosses : public testing::TestWithParam<SearchCase> {};
INSTANTIATE_TEST_SUITE_P(Taps, AwqLosses,
                         testing::Values(SearchCase{Tap::attention_input, "module"},
                                         SearchCase{Tap::attention_input, "linear"},
                                         SearchCase{Tap::attention_output, "linear"},
                                         SearchCase{Tap::mlp_input, "module"},
                                         SearchCase{Tap::mlp_input, "linear"},
                                         SearchCase{Tap::mlp_hidden, "linear"}));

// All losses against a forward pass over the tokens in fp64.
TEST_P(AwqLosses, AreWhatAForwardPassSays) {
  const auto [tap, search] = GetParam();
  const TestLayer layer(4, 2);
  std::vector<Matrix<float>> taps;
  layer.forward(layer.weights, &taps);
  const Matrix<float>& x = taps[static_cast<std::size_t>(tap)];
  const Recipe recipe = awq(3, 8, {{"search", search}});
  std::vector<LinearTask> linears;
  for (const Linear l : linears_of(tap)) linears.push_back({l, layer.weights[l].view(), recipe});
  linears.back().recipe.bits = 4;  // bits may differ from linear to linear
  const Scales scales = scales_of(recipe, {mean_magnitudes(x.view()), {}});
  const Place place = cpu_place(2);
  SoloTapWork work(place, x.view(), recipe_needs(recipe).transforms.front(), layer.window_count);
  const bool module = std::string(search) == "module";
  const std::vector<double> losses =
      module ? module_losses(place, work, layer.task(recipe), tap, linears, scales)
             : linear_losses(place, work, linears, scales);
  const auto output = [&](const std::vector<oracle::Rows>& w) {
    oracle::Rows all;
    for (std::int64_t i = 0; i < layer.window_count; ++i) {
      const oracle::Rows in = rows_of(x.rows_from(i * layer.window_length, layer.window_length));
      std::vector<oracle::Rows> y;
      for (const oracle::Rows& weight : w) y.push_back(oracle::linear(in, weight));
      oracle::Rows out = y[0];
      if (!module) {
        for (std::size_t l = 1; l < y.size(); ++l)
          for (std::size_t t = 0; t < out.size(); ++t)
            out[t].insert(out[t].end(), y[l][t].begin(), y[l][t].end());
      } else if (tap == Tap::mlp_input) {
        out =
            oracle::linear(oracle::swiglu(y[0], y[1]), rows_of(layer.weights[Linear::down].view()));
      } else {
        const auto turned = [&](const oracle::Rows& v) {
          return oracle::rope(v, 8, layer.config.rope_theta);
        };
        out = oracle::linear(oracle::attention(turned(y[0]), turned(y[1]), y[2], 4, 2),
                             rows_of(layer.weights[Linear::o].view()));
      }
      all.insert(all.end(), out.begin(), out.end());
    }
    return all;
  };
  std::vector<oracle::Rows> original;
  for (const LinearTask& l : linears) original.push_back(rows_of(l.w));
  const oracle::Rows reference = output(original);
  ASSERT_EQ(losses.size(), scales.size());
  for (std::size_t i = 0; i < scales.size(); ++i) {
    std::vector<oracle::Rows> quantized;
    for (const LinearTask& l : linears)
      quantized.push_back(quantized_oracle({static_cast<int>(l.recipe.bits)}, l.w, 8, scales[i]));
    const double expected = mean_square_difference(output(quantized), reference);
    EXPECT_NEAR(losses[i], expected, kLossTolerance * expected) << "point " << i;
  }
}

struct LayerCase {
  int heads, kv_heads;
  Options options;
};
class AwqLayers : public testing::TestWithParam<LayerCase> {};
INSTANTIATE_TEST_SUITE_P(
    Kinds, AwqLayers,
    testing::Values(LayerCase{4, 4, {}}, LayerCase{4, 2, {}}, LayerCase{4, 1, {{"gqa", true}}},
                    LayerCase{4, 2, {{"gqa", true}, {"scale", "duo"}}},
                    LayerCase{4, 4, {{"scale", "duo"}, {"symmetric", true}}},
                    LayerCase{4, 2, {{"search", "linear"}, {"minmax", true}}}));

// Before anything is rounded or clipped the layer is the same function of its input, to fp32.
TEST_P(AwqLayers, ScaledLayerComputesTheSame) {
  const LayerCase& c = GetParam();
  const TestLayer layer(c.heads, c.kv_heads);
  Options options = c.options;
  options["clip"] = false;
  const TransformedLayer done = layer.transform(cpu_place(2), awq(3, 8, options));
  const std::vector<std::int32_t> points = values_of<std::int32_t>(done, "awq.points");
  const bool heads = c.heads == c.kv_heads || c.options.contains("gqa");
  std::int64_t scaled = 0;
  for (std::size_t t = 0; t < 4; ++t) scaled += points[t] > 0;
  EXPECT_GE(scaled, 2) << "nothing was scaled, so nothing is tested";
  EXPECT_EQ(points[1] >= 0, heads);
  EXPECT_EQ(find_array(done, "awq.v_proj.scale") != nullptr, heads);
  // Each weight is rounded once or twice more; reductions are 48 long at most.
  EXPECT_LT(relative_error(layer.forward(done.weights), layer.forward(layer.weights)),
            48 * 0x1p-24);
}

TEST_P(AwqLayers, NormsAreWhatIsStored) {
  const LayerCase& c = GetParam();
  const TestLayer layer(c.heads, c.kv_heads);
  const Recipe recipe = awq(3, 8, c.options);
  const TransformedLayer done = layer.transform(cpu_place(1), recipe);
  LayerWeights read = clone_layer(layer.weights);
  apply_layer_arrays(recipe, done.arrays, read);
  for (std::int64_t j = 0; j < 32; ++j) {
    EXPECT_EQ(read.input_norm(0, j), done.weights.input_norm(0, j));
    EXPECT_EQ(read.post_attention_norm(0, j), done.weights.post_attention_norm(0, j));
  }
  const std::vector<float> s = values_of<float>(done, "awq.input_layernorm.scale");
  for (std::int64_t j = 0; j < 32; ++j) {
    const float exact = layer.weights.input_norm(0, j) / s[static_cast<std::size_t>(j)];
    EXPECT_NEAR(read.input_norm(0, j), exact, std::fabs(exact) * 0x1p-8);
    // q is not clipped: its columns show the factor that makes up for the norm's rounding.
    EXPECT_FLOAT_EQ(done.weights[Linear::q](0, j) * read.input_norm(0, j),
                    layer.weights[Linear::q](0, j) * layer.weights.input_norm(0, j));
  }
}

TEST_P(AwqLayers, LossesNeverRiseAboveRoundingToNearest) {
  const LayerCase& c = GetParam();
  const TestLayer layer(c.heads, c.kv_heads);
  const Recipe recipe = awq(3, 8, c.options);
  const TransformedLayer done = layer.transform(cpu_place(2), recipe);
  const auto points = values_of<std::int32_t>(done, "awq.points");
  for (const std::size_t t : {0u, 2u, 3u}) {
    const char* producers[] = {"input_layernorm", "v_proj", "post_attention_layernorm", "up_proj"};
    const auto losses = values_of<float>(done, fmt::format("awq.{}.losses", producers[t]));
    ASSERT_GE(points[t], 0);
    EXPECT_EQ(best_point(std::vector<double>(losses.begin(), losses.end())), points[t]);
    EXPECT_LE(losses[static_cast<std::size_t>(points[t])], losses[0]);
  }
  // And the layer as a whole gets closer to what it was.
  const Matrix<float> expected = layer.forward(layer.weights);
  const double scaled = relative_error(layer.rounded_forward(recipe, done.weights), expected);
  const double plain = relative_error(layer.rounded_forward(recipe, layer.weights), expected);
  EXPECT_LT(scaled, 0.9 * plain);
}

TEST_P(AwqLayers, IsTheSameOnAnyNumberOfThreads) {
  const LayerCase& c = GetParam();
  const TestLayer layer(c.heads, c.kv_heads);
  const Recipe recipe = awq(3, 8, c.options);
  const TransformedLayer one = layer.transform(cpu_place(1), recipe);
  const TransformedLayer two = layer.transform(cpu_place(2), recipe);
  EXPECT_EQ(one.arrays, two.arrays);
  for (const Linear l : kLinears)
    EXPECT_EQ(std::memcmp(one.weights[l].data(), two.weights[l].data(),
                          static_cast<std::size_t>(one.weights[l].size()) * sizeof(float)),
              0);
}

TEST(Awq, ClipsAllButQueriesAndKeys) {
  const TestLayer layer(4, 2);
  const Recipe recipe = awq(2, 8), unclipped = awq(2, 8, {{"clip", false}});
  const TransformedLayer done = layer.transform(cpu_place(2), recipe);
  const TransformedLayer before = layer.transform(cpu_place(2), unclipped);
  for (const Linear linear : kLinears) {
    const StoredArray* array = find_array(done, fmt::format("awq.{}.clip", linear_name(linear)));
    const Matrix<float>& w = done.weights[linear];
    const Matrix<float>& wide = before.weights[linear];
    if (linear == Linear::q || linear == Linear::k) {
      EXPECT_EQ(array, nullptr);
      EXPECT_EQ(std::memcmp(w.data(), wide.data(), static_cast<std::size_t>(w.size()) * 4), 0);
      continue;
    }
    ASSERT_NE(array, nullptr);
    EXPECT_FALSE(array->required);
    QuantizedLinear holder;
    holder.arrays.push_back(*array);
    const Matrix<std::uint8_t> steps = read_packed(holder, array->name, w.rows(), w.cols() / 8, 4);
    std::int64_t clipped = 0;
    for (std::int64_t r = 0; r < w.rows(); ++r)
      for (std::int64_t g = 0; g < steps.cols(); ++g) {
        float largest = 0;
        for (std::int64_t j = 0; j < 8; ++j)
          largest = std::max(largest, std::fabs(wide(r, 8 * g + j)));
        const float bound = clip_bound(largest, steps(r, g));
        for (std::int64_t j = 8 * g; j < 8 * g + 8; ++j)
          ASSERT_EQ(w(r, j), std::min(std::max(wide(r, j), -bound), bound));
        clipped += steps(r, g) > 0;
      }
    EXPECT_GT(clipped, 0) << linear_name(linear);
  }
  EXPECT_EQ(find_array(before, "awq.self_attn.v_proj.clip"), nullptr);
}

// Scaled inputs meet scaled weights: the steps must be those that the tokens themselves, divided by
// what the channels were divided by, would choose.
TEST(Awq, ClipSeesTheScaledInputs) {
  const TestLayer layer(4, 2);
  std::vector<Matrix<float>> taps;
  layer.forward(layer.weights, &taps);
  const TransformedLayer done = layer.transform(cpu_place(1), awq(2, 8));
  const TransformedLayer before = layer.transform(cpu_place(1), awq(2, 8, {{"clip", false}}));
  const std::vector<float> s = values_of<float>(done, "awq.up_proj.scale");
  ASSERT_GT(values_of<std::int32_t>(done, "awq.points")[3], 0);
  Matrix<float> c(48, 8);
  for (std::int64_t i = 0; i < 48; ++i)
    for (std::int64_t k = 0; k < 8; ++k) {
      const std::int64_t j = i / 8 * 8 + k;
      double sum = 0;  // fewer than 512 tokens: all are in the sample
      for (std::int64_t t = 0; t < taps[3].rows(); ++t)
        sum += static_cast<double>(taps[3](t, i) / s[static_cast<std::size_t>(i)]) *
               static_cast<double>(taps[3](t, j) / s[static_cast<std::size_t>(j)]);
      c(i, k) = static_cast<float>(sum);
    }
  Matrix<std::uint8_t> steps(32, 6);
  search_clip(cpu_place(1), {.bits = 2}, before.weights[Linear::down].view(), c.view(),
              steps.view());
  QuantizedLinear holder;
  holder.arrays.push_back(*find_array(done, "awq.mlp.down_proj.clip"));
  const Matrix<std::uint8_t> found = read_packed(holder, "awq.mlp.down_proj.clip", 32, 6, 4);
  std::int64_t others = 0;
  for (std::int64_t i = 0; i < steps.size(); ++i) others += steps.data()[i] != found.data()[i];
  EXPECT_LE(others, 2);  // ties in the last bit
}

TEST(Awq, DeadChannelsAreLeftAlone) {
  TestLayer layer(4, 2);
  layer.weights.input_norm(0, 3) = layer.weights.input_norm(0, 20) = 0;
  for (std::int64_t j = 0; j < 32; ++j) layer.weights[Linear::up](7, j) = 0;
  const TransformedLayer done = layer.transform(cpu_place(2), awq(3, 8));
  const std::vector<float> s = values_of<float>(done, "awq.input_layernorm.scale");
  EXPECT_EQ(s[3], 1.0f);
  EXPECT_EQ(s[20], 1.0f);
  EXPECT_EQ(values_of<float>(done, "awq.up_proj.scale")[7], 1.0f);
  EXPECT_EQ(done.weights.input_norm(0, 3), 0.0f);
  for (const float v : s) EXPECT_LT(std::max(v, 1 / v), 100.0f);
}

// Nothing can be judged: the layer stays as it is, and says so.
TEST(Awq, WithoutAFiniteLossNothingIsScaled) {
  TestLayer layer(4, 2);
  for (std::int64_t i = 0; i < layer.weights[Linear::down].size(); ++i)
    layer.weights[Linear::down].data()[i] *= 1e12f;  // beyond any fp16 scale
  const TransformedLayer done = layer.transform(cpu_place(1), awq(4, 8, {{"clip", false}}));
  EXPECT_EQ(values_of<std::int32_t>(done, "awq.points")[3], -1);
  for (const float v : values_of<float>(done, "awq.up_proj.scale")) EXPECT_EQ(v, 1.0f);
  EXPECT_EQ(std::memcmp(done.weights[Linear::down].data(), layer.weights[Linear::down].data(),
                        32 * 48 * 4),
            0);
}

TEST(Awq, RefusesWeightsThatAreNotFinite) {
  TestLayer layer(4, 2);
  layer.weights[Linear::gate](2, 5) = std::numeric_limits<float>::infinity();
  std::vector<Matrix<float>> taps;
  TestLayer(4, 2).forward(TestLayer(4, 2).weights, &taps);
  const Recipe recipe = awq(4, 8);
  const std::unique_ptr<Transform> awq = start_awq(layer.task(recipe));
  const Place place = cpu_place(2);
  SoloTapWork work(place, taps[2].view(), recipe_needs(recipe).transforms.front(), 5);
  try {
    awq->at_tap(place, Tap::mlp_input, work);
    FAIL() << "an infinite weight was taken";
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("row 2, column 5"));
  }
}

TEST(Awq, GroupsAreRowsOrDivisors) {
  const TestLayer layer(4, 4);
  const TransformedLayer done = layer.transform(cpu_place(2), awq(4, -1));
  const StoredArray* steps = find_array(done, "awq.mlp.up_proj.clip");
  ASSERT_NE(steps, nullptr);
  EXPECT_EQ(steps->shape, (std::vector<std::int64_t>{48, 1}));
  EXPECT_THROW(layer.transform(cpu_place(1), awq(4, 7)), InputError);
}

TEST(Awq, ChainsWithGptq) {
  const Recipe recipe = resolve_recipe("awq+gptq", 3, 8, {{"clip", false}, {"compat", true}});
  EXPECT_EQ(recipe.chain, (std::vector<std::string>{"awq", "gptq"}));
  EXPECT_FALSE(recipe.flag("clip"));
  EXPECT_TRUE(recipe.flag("compat"));
  EXPECT_FALSE(recipe_full_inputs(recipe));
  EXPECT_TRUE(recipe_full_inputs(awq(3, 8)));
  const TestLayer layer(4, 2);
  const TransformedLayer done = layer.transform(cpu_place(1), recipe);
  std::vector<Matrix<float>> taps;
  layer.forward(done.weights, &taps);
  const Place place = cpu_place(1);
  const RoundedLinear gptq =
      round_linear(place, recipe, done.weights[Linear::down].view(), taps[3].view());
  const RoundedLinear rtn = round_linear(place, resolve_recipe("gptq", 3, 8, {}),
                                         layer.weights[Linear::down].view(), taps[3].view());
  EXPECT_LT(gptq.stored.diagnostics.relative_output_error,
            2 * rtn.stored.diagnostics.relative_output_error);
}

// A diagonal scaling is legal before any rounding; those without a uniform grid are stood for by
// one, and nothing is clipped for them.
struct ChainCase {
  const char* rounding;
  double bits;
  int trial_bits;  // 0: a rounding with a uniform grid
};
class AwqChains : public testing::TestWithParam<ChainCase> {};
INSTANTIATE_TEST_SUITE_P(Roundings, AwqChains,
                         testing::Values(ChainCase{"rtn", 2, 0}, ChainCase{"gptq", 3, 0},
                                         ChainCase{"pb-llm", 1.7, 2}, ChainCase{"pb-llm", 2.5, 3},
                                         ChainCase{"billm", 1.1, 2}, ChainCase{"slim-llm", 3, 3},
                                         ChainCase{"fdb", 2, 2}, ChainCase{"fdb-gptq", 2, 2},
                                         ChainCase{"fdb-block", 2, 2}, ChainCase{"quip", 2, 2},
                                         ChainCase{"quip-rg", 3, 3}, ChainCase{"incoherence", 4, 4},
                                         ChainCase{"incoherence+gptq", 3, 3}),
                         [](const auto& info) {
                           std::string name =
                               fmt::format("{}_{}", info.param.rounding, info.param.bits * 10);
                           for (char& c : name)
                             if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
                           return name;
                         });

TEST_P(AwqChains, ScalesAsBeforeRoundingToNearestOnTheTrialGrid) {
  const ChainCase& c = GetParam();
  const TestLayer layer(4, 2);
  for (const std::string before : {"awq+", "awq+smoothquant+"})
    for (const char* search : {"module", "linear"}) {
      const Recipe recipe = resolve_recipe(before + c.rounding, c.bits, 8,
                                           {{"search", search},
                                            {"scale", "duo"},
                                            {"activation_bits", OptionValue(std::int64_t{16})}});
      EXPECT_EQ(recipe.options.contains("clip"), c.trial_bits == 0);
      const TransformedLayer done = layer.transform(cpu_place(2), recipe);
      if (c.trial_bits == 0) continue;
      // QuIP's roundings have one scale per linear: the trials' group is a row.
      const Recipe nearest =
          awq(c.trial_bits, recipe.group, {{"search", search}, {"scale", "duo"}, {"clip", false}});
      const TransformedLayer expected = layer.transform(cpu_place(2), nearest);
      EXPECT_EQ(done.arrays, expected.arrays);
      EXPECT_GT(values_of<std::int32_t>(done, "awq.points")[0], 0) << "nothing was scaled";
    }
}

TEST(Awq, ClipIsForUniformGrids) {
  for (const bool clip : {false, true}) try {
      resolve_recipe("awq+fdb", 2, 8, {{"clip", clip}});
      FAIL() << "clip was taken";
    } catch (const InputError& e) {
      EXPECT_THAT(e.what(), HasSubstr("'clip'"));
      EXPECT_THAT(e.what(), HasSubstr("rtn, gptq"));
    }
}

}  // namespace
}  // namespace bitgrid::test
