#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cctype>
#include <cmath>
#include <cstring>
#include <functional>

#include "core/methods/grid.hpp"
#include "core/methods/recipe_needs.hpp"
#include "core/methods/resolve_recipe.hpp"
#include "kernels/error.hpp"
#include "tests/core/methods/solve.hpp"
#include "tests/oracle/random.hpp"

// What every rounding owes, over all methods of the registry and all words and flags of their
// options.
namespace bitgrid::test {
namespace {

struct Case {
  std::string method;
  std::map<std::string, OptionValue> options;
};

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const Method& m : all_methods()) {
    if (m.kind != MethodKind::rounding || !m.later.empty()) continue;
    cases.push_back({std::string(m.name), {}});
    for (const OptionSpec& spec : m.options) {
      const std::string key(spec.key);
      if (const bool* flag = std::get_if<bool>(&spec.fallback))
        cases.push_back({std::string(m.name), {{key, !*flag}}});
      for (const std::string& word : spec.choices)
        if (OptionValue(word) != spec.fallback)
          cases.push_back({std::string(m.name), {{key, word}}});
    }
  }
  return cases;
}

class Rounding : public testing::TestWithParam<Case> {
 protected:
  Recipe recipe(double bits, std::int64_t group) const {
    return resolve_recipe(GetParam().method, bits, group, GetParam().options);
  }
  // Bits that the method takes, of those that matter; few of them.
  std::vector<double> some_bits() const {
    std::vector<double> bits;
    for (const double b : {1.1, 1.7, 2.0, 3.0, 4.0, 8.0}) try {
        recipe(b, -1);
        bits.push_back(b);
      } catch (const InputError&) {
      }
    if (bits.size() > 3) bits = {bits.front(), bits[1], bits.back()};
    return bits;
  }
  double fewest_bits() const { return some_bits().front(); }
  static Matrix<float> inputs(std::int64_t in) {
    return Random(static_cast<std::uint64_t>(in)).activations(2 * in + 10, in);
  }
  RoundedLinear round(const Recipe& r, MatrixView<const float> w, MatrixView<const float> x,
                      int threads = 1, bool one_tile = false) const {
    const Place place = cpu_place(threads);
    SoloTapWork work(place, x, recipe_needs(r).rounding);
    work.one_tile = one_tile;
    return round_linear(place, r, w, work);
  }
};

void expect_finite(const Matrix<float>& w) {
  for (std::int64_t i = 0; i < w.size(); ++i) ASSERT_TRUE(std::isfinite(w.data()[i])) << i;
}

void expect_same(const Matrix<float>& a, const Matrix<float>& b) {
  ASSERT_EQ(a.rows(), b.rows());
  ASSERT_EQ(a.cols(), b.cols());
  EXPECT_EQ(std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.size()) * sizeof(float)), 0);
}

TEST_P(Rounding, TheStoredArraysAreTheWeightAndItsErrorsAreTrue) {
  for (const double bits : some_bits())
    for (const std::int64_t group : {-1L, 43L}) {
      const std::int64_t in = 129, rows = 133;
      Matrix<float> w = Random(3).normals(rows, in, 0.05);
      w(1, 7) = 4;                                            // an outlier
      for (std::int64_t j = 0; j < in; ++j) w(2, j) = 0;      // zeros
      for (std::int64_t j = 0; j < in; ++j) w(3, j) = 0.25f;  // all equal
      const Recipe r = recipe(bits, group);
      const Matrix<float> x = inputs(in);
      const RoundedLinear s = round(r, w.view(), x.view(), 2);
      expect_same(s.weight, rebuild_weight(cpu_place(1), s.stored));
      expect_finite(s.weight);
      EXPECT_EQ(s.stored.name, "self_attn.q_proj");
      EXPECT_EQ(s.stored.rows, rows);
      EXPECT_EQ(s.stored.cols, in);
      EXPECT_EQ(s.stored.group, r.group);
      std::int64_t bytes = 0;
      for (const StoredArray& array : s.stored.arrays)
        if (array.required) bytes += static_cast<std::int64_t>(array.data.size());
      EXPECT_DOUBLE_EQ(s.stored.bits_per_weight(), 8.0 * bytes / (rows * in));
      EXPECT_GT(s.stored.bits_per_weight(), bits);
      double error = 0, norm = 0;
      for (std::int64_t i = 0; i < w.size(); ++i) {
        error += std::pow(static_cast<double>(w.data()[i] - s.weight.data()[i]), 2);
        norm += std::pow(static_cast<double>(w.data()[i]), 2);
      }
      EXPECT_NEAR(s.stored.diagnostics.relative_weight_error, error / norm, 1e-5 * error / norm);
      EXPECT_TRUE(std::isfinite(s.stored.diagnostics.loss));
      EXPECT_EQ(std::isnan(s.stored.diagnostics.relative_output_error),
                !recipe_needs(r).rounding.gram);
    }
}

TEST_P(Rounding, IsTheSameBytesForAnyThreadsAndTiles) {
  const std::int64_t in = 96, rows = 300;
  const Matrix<float> w = Random(4).normals(rows, in, 0.05), x = inputs(in);
  const Recipe r = recipe(fewest_bits(), 32);
  const RoundedLinear one = round(r, w.view(), x.view());
  const RoundedLinear two = round(r, w.view(), x.view(), 2);
  EXPECT_EQ(one.stored.arrays, two.stored.arrays);
  EXPECT_EQ(one.stored.code_hash(), two.stored.code_hash());
  EXPECT_EQ(one.stored.diagnostics.loss, two.stored.diagnostics.loss);
  EXPECT_EQ(one.stored.diagnostics.relative_weight_error,
            two.stored.diagnostics.relative_weight_error);
}

// Without any weights to compare with: what nobody declared is not there.
TEST_P(Rounding, UsesTheStatisticsThatItDeclares) {
  const std::int64_t in = 32;
  const Matrix<float> w = Random(5).normals(4, in, 0.05), x = inputs(in);
  const Recipe r = recipe(fewest_bits(), 16);
  const Place place = cpu_place(1);
  SoloTapWork work(place, x.view(), recipe_needs(r).rounding);
  round_linear(place, r, w.view(), work);
  EXPECT_EQ(work.asked.empty(), !recipe_needs(r).rounding.gram);
}

TEST_P(Rounding, RefusesWeightsThatAreNotFinite) {
  const std::int64_t in = 32;
  for (const float bad : {std::nanf(""), HUGE_VALF, -HUGE_VALF}) {
    Matrix<float> w = Random(5).normals(4, in);
    w(2, 9) = bad;
    const Matrix<float> x = inputs(in);
    try {
      round(recipe(fewest_bits(), -1), w.view(), x.view());
      FAIL() << "expected an Error";
    } catch (const Error& e) {
      EXPECT_THAT(e.what(), testing::HasSubstr("row 2, column 9"));
    }
  }
}

TEST_P(Rounding, RefusesStatisticsThatAreNotFinite) {
  const std::int64_t in = 32;
  const Recipe r = recipe(fewest_bits(), -1);
  if (!recipe_needs(r).rounding.gram) GTEST_SKIP() << "no statistics";
  const Matrix<float> w = Random(5).normals(4, in), x = inputs(in);
  const Place place = cpu_place(1);
  SoloTapWork good(place, x.view(), recipe_needs(r).rounding);
  Statistics bad;
  bad.gram = good.statistics().gram.clone();
  bad.tokens = good.tokens();
  bad.gram(9, 3) = std::nan("");
  SoloTapWork work(place, std::move(bad));
  EXPECT_THROW(round_linear(place, r, w.view(), work), Error);
}

// Either a finite weight or an Error that names the place.
TEST_P(Rounding, HandlesWeightsThatFp16CannotScale) {
  const std::int64_t in = 32;
  Matrix<float> w = Random(6).normals(4, in);
  w(1, 3) = 1e8f;
  const Matrix<float> x = inputs(in);
  try {
    expect_finite(round(recipe(some_bits().back(), -1), w.view(), x.view()).weight);
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), testing::HasSubstr("row 1"));
    EXPECT_THAT(e.what(), testing::HasSubstr("fp16"));
  }
}

TEST_P(Rounding, HandlesTinyLinears) {
  for (const std::int64_t in : {1L, 2L, 3L})
    for (const std::int64_t rows : {1L, 2L}) {
      const Matrix<float> w = Random(7).normals(rows, in), x = inputs(in);
      for (const std::int64_t group : {-1L, 1L, in}) {
        const RoundedLinear s = round(recipe(some_bits().back(), group), w.view(), x.view());
        EXPECT_EQ(s.weight.cols(), in);
        expect_finite(s.weight);
      }
    }
}

TEST_P(Rounding, HandlesDeadOutlyingAndEqualChannels) {
  const std::int64_t in = 64, rows = 20;
  Matrix<float> x = inputs(in), w = Random(8).normals(rows, in, 0.05);
  for (std::int64_t t = 0; t < x.rows(); ++t) {
    x(t, 5) = 0;          // dead
    x(t, 9) *= 1000;      // an outlier
    x(t, 11) = x(t, 12);  // the same twice
  }
  for (std::int64_t r = 0; r < rows; ++r) w(r, 20) = 0.125f;
  for (const double bits : some_bits())
    for (const std::int64_t group : {-1L, 16L})
      expect_finite(round(recipe(bits, group), w.view(), x.view()).weight);
  w.fill(0.5f);
  expect_finite(round(recipe(fewest_bits(), 16), w.view(), x.view()).weight);
  w.fill(0);
  expect_finite(round(recipe(fewest_bits(), 16), w.view(), x.view()).weight);
  Matrix<float> silent(x.rows(), in);
  silent.fill(0);  // no input at all
  const Matrix<float> some = Random(9).normals(rows, in, 0.05);
  expect_finite(round(recipe(fewest_bits(), 16), some.view(), silent.view()).weight);
}

std::string case_name(const testing::TestParamInfo<Case>& info) {
  std::string name = info.param.method;
  for (const auto& [key, value] : info.param.options) name += "_" + key + "_" + option_text(value);
  for (char& c : name)
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  return name;
}

INSTANTIATE_TEST_SUITE_P(AllMethods, Rounding, testing::ValuesIn(all_cases()), case_name);

TEST(Rtn, RefusesScalesThatFp16CannotHold) {
  Matrix<float> w = Random(6).normals(4, 32);
  w(1, 3) = 1e8f;
  try {
    solve_linear(cpu_place(1), resolve_recipe("rtn", 4, -1, {}), {}, w.view());
    FAIL() << "expected an Error";
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), testing::HasSubstr("row 1"));
    EXPECT_THAT(e.what(), testing::HasSubstr("fp16"));
  }
}

TEST(Uniform, StandsForScaleTimesCodeMinusZero) {
  const std::int64_t in = 129, rows = 20;
  Matrix<float> w = Random(3).normals(rows, in, 0.05);
  for (std::int64_t j = 0; j < in; ++j) w(2, j) = 0;
  const Matrix<float> x = Random(4).activations(300, in);
  const Statistics gram = gram_of(x.view());
  for (const char* order : {"none", "act", "static", "gar"})
    for (const bool symmetric : {false, true}) {
      const Recipe r = resolve_recipe("gptq", 3, 43, {{"order", order}, {"symmetric", symmetric}});
      const Solved s = solve_linear(cpu_place(1), r, gram, w.view());
      const StoredArray* index = s.linear.find("group_index");
      for (std::int64_t i = 0; i < rows; ++i)
        for (std::int64_t j = 0; j < in; ++j) {
          std::int32_t g = static_cast<std::int32_t>(j / 43);
          if (index != nullptr) std::memcpy(&g, index->data.data() + 4 * j, 4);
          ASSERT_EQ(s.weight(i, j),
                    f16_to_f32(s.scales(i, g)) *
                        (static_cast<float>(s.codes(i, j)) - static_cast<float>(s.zeros(i, g))));
          if (i == 2) {
            ASSERT_EQ(s.weight(i, j), 0.0f);
          }
        }
      EXPECT_EQ(s.linear.find("zeros") == nullptr, symmetric);
    }
}

// Quantizing a quantized weight again changes nothing: it lies on the grid, which spans the same
// range. (The range of a group is reached exactly when both its ends have codes, as is the rule for
// groups of many weights.)
TEST(Rtn, IsIdempotent) {
  for (const int bits : {2, 3, 4, 8})
    for (const bool symmetric : {false, true}) {
      const Recipe r = resolve_recipe("rtn", bits, 32, {{"symmetric", symmetric}});
      Matrix<float> w = Random(9).normals(50, 96, 0.05);
      // Symmetric grids have one more code below zero than above: put the largest weight there, so
      // that it is exact.
      for (std::int64_t i = 0; i < w.rows(); ++i)
        for (std::int64_t g = 0; g < 3; ++g) w(i, 32 * g) = symmetric ? -0.3f : w(i, 32 * g);
      const Solved first = solve_linear(cpu_place(1), r, {}, w.view());
      const Matrix<float> value = rebuild_weight(cpu_place(1), first.linear);
      std::int64_t same = 0, groups = 0;
      const Solved again = solve_linear(cpu_place(1), r, {}, value.view());
      for (std::int64_t i = 0; i < w.rows(); ++i)
        for (std::int64_t g = 0; g < 3; ++g) {
          int low = 255, high = 0;
          for (std::int64_t j = 0; j < 32; ++j) {
            low = std::min<int>(low, first.codes(i, 32 * g + j));
            high = std::max<int>(high, first.codes(i, 32 * g + j));
          }
          const bool spans = !symmetric && low == 0 && high == (1 << bits) - 1;
          groups += spans;
          if (!spans) continue;
          for (std::int64_t j = 0; j < 32; ++j)
            ASSERT_EQ(again.codes(i, 32 * g + j), first.codes(i, 32 * g + j));
          ++same;
        }
      if (!symmetric) {
        EXPECT_GT(groups, 100);
      }
      EXPECT_EQ(same, groups);
    }
}

TEST(Rtn, ReportsTheWeightErrorAsItsLoss) {
  const Matrix<float> w = Random(10).normals(5, 24);
  const Solved s = solve_linear(cpu_place(1), resolve_recipe("rtn", 3, 8, {}), {}, w.view());
  double error = 0;
  for (std::int64_t i = 0; i < w.size(); ++i)
    error += std::pow(static_cast<double>(w.data()[i] - s.weight.data()[i]), 2);
  EXPECT_NEAR(s.loss(), error, 1e-6 * error);
  EXPECT_TRUE(std::isnan(s.linear.diagnostics.relative_output_error));
}

TEST(QuantizedLinear, CountsBitsHonestly) {
  const Matrix<float> w = Random(11).normals(64, 256);
  const auto bits = [&](double b, std::int64_t group, bool symmetric) {
    return solve_linear(cpu_place(1), resolve_recipe("rtn", b, group, {{"symmetric", symmetric}}),
                        {}, w.view())
        .linear.bits_per_weight();
  };
  EXPECT_DOUBLE_EQ(bits(4, 128, false), 4 + 16 / 128.0 + 8 / 256.0);  // two zeros fill one byte
  EXPECT_DOUBLE_EQ(bits(4, 128, true), 4 + 16 / 128.0);
  EXPECT_DOUBLE_EQ(bits(3, 32, false), 3 + 16 / 32.0 + 3 / 32.0);
  EXPECT_DOUBLE_EQ(bits(8, -1, true), 8 + 16 / 256.0);
}

TEST(QuantizedLinear, HashesWhatRebuildsTheWeight) {
  const Matrix<float> w = Random(12).normals(4, 16);
  const Statistics gram = gram_of(Random(13).activations(40, 16).view());
  QuantizedLinear a =
      solve_linear(cpu_place(1), resolve_recipe("gptq", 4, 8, {}), gram, w.view()).linear;
  const std::string hash = a.code_hash();
  EXPECT_EQ(hash.size(), 64u);
  for (StoredArray& array : a.arrays) {
    array.data[0] ^= std::byte{1};
    EXPECT_EQ(a.code_hash() == hash, !array.required) << array.name;
    array.data[0] ^= std::byte{1};
  }
  a.arrays[0].shape = {16, 4};
  EXPECT_NE(a.code_hash(), hash);
}

TEST(QuantizedLinear, RefusesArraysThatDoNotFit) {
  const Matrix<float> w = Random(14).normals(4, 16);
  const Statistics gram = gram_of(Random(15).activations(40, 16).view());
  const QuantizedLinear good =
      solve_linear(cpu_place(1), resolve_recipe("gptq", 3, 4, {{"order", "act"}}), gram, w.view())
          .linear;
  const Place place = cpu_place(1);
  EXPECT_NO_THROW(rebuild_weight(place, good));
  const auto array = [](QuantizedLinear& q, const std::string& name) -> StoredArray& {
    for (StoredArray& a : q.arrays)
      if (a.name == name) return a;
    throw std::logic_error(name);
  };
  const std::vector<std::pair<std::string, std::function<void(QuantizedLinear&)>>> damages = {
      {"format", [](auto& q) { q.format = "nf4"; }},
      {"rows", [](auto& q) { q.rows = 5; }},
      {"rows", [](auto& q) { q.rows = -4; }},
      {"codes", [](auto& q) { q.cols = 12; }},
      {"bits", [](auto& q) { q.bits = 9; }},
      {"bits", [](auto& q) { q.bits = 4; }},
      {"group", [](auto& q) { q.group = 3; }},
      {"group", [](auto& q) { q.group = 0; }},
      {"'codes' is missing", [](auto& q) { q.arrays.erase(q.arrays.begin()); }},
      {"scales", [&](auto& q) { array(q, "scales").data.pop_back(); }},
      {"scales", [&](auto& q) { array(q, "scales").dtype = DType::bf16; }},
      {"scales", [&](auto& q) { array(q, "scales").shape = {4}; }},
      {"zeros", [&](auto& q) { array(q, "zeros").packed_bits = 8; }},
      {"codes", [&](auto& q) { array(q, "codes").data.resize(1); }},
      {"group_index", [&](auto& q) { array(q, "group_index").data[3] = std::byte{0x80}; }},
      {"group_index", [&](auto& q) { array(q, "group_index").data[0] = std::byte{4}; }},
      {"group_index", [&](auto& q) { array(q, "group_index").dtype = DType::u32; }},
  };
  for (const auto& [what, damage] : damages) {
    QuantizedLinear bad = good;
    damage(bad);
    try {
      rebuild_weight(place, bad);
      ADD_FAILURE() << what << ": expected an Error";
    } catch (const Error& e) {
      EXPECT_THAT(e.what(), testing::HasSubstr("self_attn.q_proj")) << what;
    }
  }
}

TEST(SolveTiles, AreAFunctionOfTheRows) {
  for (const std::int64_t rows : {1L, 64L, 4096L, 28672L}) {
    EXPECT_GT(solve_tile_rows(rows), 0);
    EXPECT_EQ(solve_tile_rows(rows), solve_tile_rows(rows));
  }
  EXPECT_EQ(group_count(256, -1), 1);
  EXPECT_EQ(group_count(256, 128), 2);
  EXPECT_EQ(group_count(257, 128), 3);
}

}  // namespace
}  // namespace bitgrid::test
