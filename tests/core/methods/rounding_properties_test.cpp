#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>

#include "core/methods/grid.hpp"
#include "kernels/error.hpp"
#include "kernels/pack_codes.hpp"
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
        cases.push_back({std::string(m.name), {{key, word}}});
    }
  }
  return cases;
}

class Rounding : public testing::TestWithParam<Case> {
 protected:
  Recipe recipe(int bits, std::int64_t group) const {
    return resolve_recipe(GetParam().method, bits, group, GetParam().options);
  }
  static Statistics statistics(std::int64_t in) {
    return gram_of(Random(static_cast<std::uint64_t>(in)).activations(2 * in + 10, in).view());
  }
};

TEST_P(Rounding, CodesFitAndTheWeightIsExact) {
  for (const int bits : {2, 3, 4, 8})
    for (const std::int64_t group : {-1L, 43L}) {
      const std::int64_t in = 129, rows = 133;
      Matrix<float> w = Random(3).normals(rows, in, 0.05);
      w(1, 7) = 4;                                            // an outlier
      for (std::int64_t j = 0; j < in; ++j) w(2, j) = 0;      // zeros
      for (std::int64_t j = 0; j < in; ++j) w(3, j) = 0.25f;  // one-sided
      const Recipe r = recipe(bits, group);
      const Solved s = solve_linear(cpu_place(2), r, statistics(in), w.view());
      const Matrix<float> value = rebuild_weight(cpu_place(2), s.linear);
      const StoredArray* index = s.linear.find("group_index");
      const std::int64_t size = group < 0 ? in : group;
      for (std::int64_t i = 0; i < rows; ++i)
        for (std::int64_t j = 0; j < in; ++j) {
          std::int32_t g = static_cast<std::int32_t>(j / size);
          if (index != nullptr) std::memcpy(&g, index->data.data() + 4 * j, 4);
          ASSERT_LT(s.codes(i, j), 1 << bits);
          ASSERT_LT(s.zeros(i, g), 1 << bits);
          if (r.flag("symmetric")) {
            ASSERT_EQ(s.zeros(i, g), 1 << (bits - 1));
          }
          const float expected = f16_to_f32(s.scales(i, g)) * (static_cast<float>(s.codes(i, j)) -
                                                               static_cast<float>(s.zeros(i, g)));
          ASSERT_EQ(value(i, j), expected);
          if (i == 2) {
            ASSERT_EQ(value(i, j), 0.0f);
          }
        }
      EXPECT_EQ(s.linear.find("zeros") == nullptr, r.flag("symmetric"));
      EXPECT_EQ(s.linear.bits, bits);
      EXPECT_EQ(s.linear.group, group);
      EXPECT_EQ(s.linear.name, "self_attn.q_proj");
      for (std::int64_t i = 0; i < rows; ++i) {
        const auto at = static_cast<std::size_t>(i);
        double error = 0, norm = 0;
        for (std::int64_t j = 0; j < in; ++j) {
          error += std::pow(static_cast<double>(w(i, j) - value(i, j)), 2);
          norm += std::pow(static_cast<double>(w(i, j)), 2);
        }
        ASSERT_NEAR(s.weight_error[at], error, 1e-5 * error + 1e-30);
        ASSERT_NEAR(s.weight_norm[at], norm, 1e-6 * norm + 1e-30);
        ASSERT_TRUE(s.loss[at] >= 0);
      }
    }
}

TEST_P(Rounding, IsTheSameBytesForAnyThreadsTilesAndRanks) {
  const std::int64_t in = 96, rows = 300;
  const Matrix<float> w = Random(4).normals(rows, in, 0.05);
  const Statistics gram = statistics(in);
  const Recipe r = recipe(3, 32);
  const Solved one = solve_linear(cpu_place(1), r, gram, w.view());
  for (const bool whole : {false, true}) {
    const Solved two = solve_linear(cpu_place(2), r, gram, w.view(), whole);
    EXPECT_EQ(one.linear.arrays, two.linear.arrays);
    EXPECT_EQ(one.linear.code_hash(), two.linear.code_hash());
    EXPECT_EQ(one.loss, two.loss);
    EXPECT_EQ(one.weight_error, two.weight_error);
    // The errors' last bits belong to the tiles that rounding is called on; codes do not depend on
    // them at all.
    if (!whole && !std::isnan(one.output_error[0])) {
      EXPECT_EQ(one.output_error, two.output_error);
      EXPECT_EQ(one.output_norm, two.output_norm);
    }
  }
}

TEST_P(Rounding, RefusesWeightsThatAreNotFinite) {
  const std::int64_t in = 32;
  for (const float bad : {std::nanf(""), HUGE_VALF, -HUGE_VALF}) {
    Matrix<float> w = Random(5).normals(4, in);
    w(2, 9) = bad;
    try {
      solve_linear(cpu_place(1), recipe(4, -1), statistics(in), w.view());
      FAIL() << "expected an Error";
    } catch (const Error& e) {
      EXPECT_THAT(e.what(), testing::HasSubstr("row 2, column 9"));
    }
  }
}

TEST_P(Rounding, RefusesScalesThatFp16CannotHold) {
  const std::int64_t in = 32;
  Matrix<float> w = Random(6).normals(4, in);
  w(1, 3) = 1e8f;
  try {
    solve_linear(cpu_place(1), recipe(4, -1), statistics(in), w.view());
    FAIL() << "expected an Error";
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), testing::HasSubstr("row 1"));
    EXPECT_THAT(e.what(), testing::HasSubstr("fp16"));
  }
}

TEST_P(Rounding, HandlesTinyLinears) {
  for (const std::int64_t in : {1L, 2L, 3L})
    for (const std::int64_t rows : {1L, 2L}) {
      const Matrix<float> w = Random(7).normals(rows, in);
      for (const std::int64_t group : {-1L, 1L, in}) {
        const Solved s = solve_linear(cpu_place(1), recipe(4, group), statistics(in), w.view());
        EXPECT_EQ(rebuild_weight(cpu_place(1), s.linear).cols(), in);
      }
    }
}

TEST_P(Rounding, SkipsWhatNobodyAsksFor) {
  const Matrix<float> w = Random(8).normals(3, 16);
  const Recipe r = recipe(4, 8);
  Solved s = solve_linear(cpu_place(1), r, statistics(16), w.view());
  const auto codes = std::vector<std::uint8_t>(s.codes.data(), s.codes.data() + s.codes.size());
  s.codes.fill(0);
  RowsOut out;
  out.codes = s.codes.view();
  out.scales = s.scales.view();
  out.zeros = s.zeros.view();
  recipe_rounding(r).round_rows(cpu_place(1), r, s.prepared, w.view(), out);
  EXPECT_TRUE(std::equal(codes.begin(), codes.end(), s.codes.data()));
}

INSTANTIATE_TEST_SUITE_P(AllMethods, Rounding, testing::ValuesIn(all_cases()),
                         [](const testing::TestParamInfo<Case>& info) {
                           std::string name = info.param.method;
                           for (const auto& [key, value] : info.param.options)
                             name += "_" + key + "_" + option_text(value);
                           return name;
                         });

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
  EXPECT_EQ(s.loss, s.weight_error);
  EXPECT_GT(s.loss[0], 0);
  EXPECT_TRUE(std::isnan(s.output_error[0]));
  EXPECT_TRUE(std::isnan(s.output_norm[0]));
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
