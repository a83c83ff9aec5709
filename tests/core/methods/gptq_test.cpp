#include "core/methods/gptq.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/methods/grid.hpp"
#include "kernels/error.hpp"
#include "tests/core/methods/solve.hpp"
#include "tests/oracle/quantization.hpp"
#include "tests/oracle/random.hpp"

namespace bitgrid::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Recipe gptq(double bits, std::int64_t group, const char* order = "static",
            std::map<std::string, OptionValue> more = {}) {
  more["order"] = std::string(order);
  return resolve_recipe("gptq", bits, group, more);
}

std::vector<int> codes_of(const Solved& s) {
  return {s.codes.data(), s.codes.data() + s.codes.size()};
}

// H = 2S/N, columns without input repaired, damped by a fraction of the mean over the others.
Square damped_oracle(const Statistics& statistics, double damping) {
  const Square s = from_lower(statistics.gram.view());
  Square h(s.n);
  double sum = 0, live = 0;
  for (std::int64_t i = 0; i < s.n; ++i)
    for (std::int64_t j = 0; j < s.n; ++j)
      h(i, j) = 2 * s(i, j) / static_cast<double>(statistics.tokens);
  for (std::int64_t i = 0; i < s.n; ++i) {
    sum += h(i, i);
    live += h(i, i) != 0;
    if (h(i, i) == 0) h(i, i) = 1;
  }
  for (std::int64_t i = 0; i < s.n; ++i) h(i, i) += damping * sum / live;
  return h;
}

Statistics unit_statistics(double factor = 1) {
  const float x[] = {1, 2, 0.5f, 2, 0, 1, 0, 1, -1, 1, -1, 2};
  Statistics s = gram_of({x, 4, 3});
  for (std::int64_t i = 0; i < s.gram.size(); ++i) s.gram.data()[i] *= static_cast<float>(factor);
  return s;
}
const float kUnitRow[] = {0.86f, -0.08f, -0.94f};

TEST(Gptq, MatchesTheUnitVector) {
  const Statistics statistics = unit_statistics();
  const float gram[] = {6, 0, 0, 1, 6, 0, 4.5f, -2, 6.25f};
  EXPECT_TRUE(std::equal(std::begin(gram), std::end(gram), statistics.gram.data()));
  const Recipe recipe = gptq(3, -1, "none");
  const Solved s = solve_linear(cpu_place(1), recipe, statistics, {kUnitRow, 1, 3});
  EXPECT_THAT(codes_of(s), ElementsAre(7, 4, 1));
  EXPECT_EQ(s.zeros(0, 0), 4);
  EXPECT_FLOAT_EQ(f16_to_f32(s.scales(0, 0)), 0.25708008f);
  EXPECT_NEAR(s.loss[0], 0.0158134, 1e-7);
  EXPECT_EQ(s.prepared.damping, 0.01);
  EXPECT_EQ(s.prepared.damping_attempts, 1);
  EXPECT_FALSE(s.prepared.fallback);
  const Solved rtn =
      solve_linear(cpu_place(1), resolve_recipe("rtn", 3, -1, {}), {}, {kUnitRow, 1, 3});
  EXPECT_THAT(codes_of(rtn), ElementsAre(7, 4, 0));
}

TEST(Gptq, SortsColumns) {
  const auto order_of = [](const char* mode, std::int64_t group, std::vector<float> diagonal) {
    const auto in = static_cast<std::int64_t>(diagonal.size());
    Statistics s;
    s.gram = Matrix<float>(in, in);
    s.gram.fill(0);
    for (std::int64_t j = 0; j < in; ++j) s.gram(j, j) = diagonal[static_cast<std::size_t>(j)];
    s.tokens = in;
    return kGptqSteps.prepare(cpu_place(1), gptq(4, group, mode), s, in).order;
  };
  EXPECT_THAT(order_of("act", -1, {6, 6, 6.25f}), ElementsAre(2, 0, 1));
  EXPECT_THAT(order_of("none", 2, {1, 2, 3, 4}), ElementsAre());
  for (const char* mode :
       {"act", "static"})  // ties keep their order, columns without input go last
    EXPECT_THAT(order_of(mode, 3, {0, 1e-6f, 2, 0, 2, 5}), ElementsAre(5, 2, 4, 1, 0, 3));
  EXPECT_THAT(order_of("gar", 3, {1, 2, 2, 9, 0, 3}), ElementsAre(3, 5, 4, 1, 2, 0));
  EXPECT_THAT(order_of("gar", 2, {1, 3, 3, 0, 4, 4}), ElementsAre(4, 5, 1, 0, 2, 3));
  EXPECT_THAT(order_of("gar", -1, {1, 3, 2}), ElementsAre(1, 2, 0));
}

struct OrderCase {
  const char* order;
  std::int64_t group;
  bool symmetric;
};
class GptqOrders : public testing::TestWithParam<OrderCase> {};

// The textbook: after each column the inverse of the remaining block, explicitly, in fp64.
TEST_P(GptqOrders, FollowTheTextbook) {
  const OrderCase c = GetParam();
  for (const std::int64_t in : {24L, 144L}) {
    const std::int64_t rows = 4;
    Random random(static_cast<std::uint64_t>(in));
    Matrix<float> x = random.activations(3 * in, in);
    for (std::int64_t t = 0; t < x.rows(); ++t) x(t, 5) = x(t, 14) = 0;  // two dead columns
    const Statistics statistics = gram_of(x.view());
    const Matrix<float> w = random.normals(rows, in, 0.05);
    const Recipe recipe = gptq(3, c.group, c.order, {{"symmetric", c.symmetric}});
    const Solved s = solve_linear(cpu_place(2), recipe, statistics, w.view());
    EXPECT_THAT(s.prepared.dead, ElementsAre(5, 14));
    EXPECT_EQ(s.linear.diagnostics.dead_columns, 2);
    const std::int64_t group = c.group < 0 ? in : c.group;
    const std::string order = c.order;
    GptqOracle oracle;
    oracle.grid = {3, c.symmetric, true};
    oracle.h = damped_oracle(statistics, 0.01);
    oracle.dynamic_group = c.group < 0 || order == "static" ? 0 : group;
    oracle.reinvert = in < 40;
    for (std::int64_t i = 0; i < in; ++i) {
      oracle.order.push_back(
          s.prepared.order.empty() ? i : s.prepared.order[static_cast<std::size_t>(i)]);
      oracle.group_of.push_back((order == "act" ? i : oracle.order.back()) / group);
    }
    const Matrix<float> value = rebuild_weight(cpu_place(1), s.linear);
    for (std::int64_t r = 0; r < rows; ++r) {
      std::vector<double> row(w.row(r), w.row(r) + in), scales, zeros;
      row[5] = row[14] = 0;
      EXPECT_EQ(value(r, 5), 0.0f);
      EXPECT_EQ(value(r, 14), 0.0f);
      for (std::int64_t g = 0; g < in / group; ++g) {
        scales.push_back(f16_to_f32(s.scales(r, g)));
        zeros.push_back(s.zeros(r, g));
      }
      const Replay replay =
          replay_gptq(oracle, row, {s.codes.row(r), s.codes.row(r) + in}, scales, zeros);
      EXPECT_LT(replay.excess_max, 1e-3);
      EXPECT_LT(replay.scale_error_max, 0x1.1p-10);
      EXPECT_NEAR(s.loss[static_cast<std::size_t>(r)], replay.loss, 1e-4 * replay.loss);
      // loss = ½·(w − q) H (w − q)ᵀ with the damped H and the weight after dead columns were
      // cleared.
      std::vector<double> off;
      for (std::int64_t j = 0; j < in; ++j)
        off.push_back(row[static_cast<std::size_t>(j)] - static_cast<double>(value(r, j)));
      EXPECT_NEAR(s.loss[static_cast<std::size_t>(r)], 0.5 * quadratic_oracle(oracle.h, off),
                  1e-4 * replay.loss);
      if (oracle.dynamic_group > 0) continue;
      for (std::int64_t g = 0; g < in / group; ++g) {  // fixed grids come from the original weights
        const ScaleZero fixed = grid_oracle(
            oracle.grid,
            std::vector<double>(row.begin() + g * group, row.begin() + (g + 1) * group));
        EXPECT_NEAR(scales[static_cast<std::size_t>(g)], fixed.scale, 0x1.1p-10 * fixed.scale);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Orders, GptqOrders,
                         testing::Values(OrderCase{"none", 8, false}, OrderCase{"none", -1, true},
                                         OrderCase{"act", 8, false}, OrderCase{"act", -1, false},
                                         OrderCase{"static", 8, false},
                                         OrderCase{"static", 24, true}, OrderCase{"gar", 8, true},
                                         OrderCase{"gar", 12, false}));

TEST(Gptq, MeasuresTheOutputError) {
  const std::int64_t in = 40, rows = 5;
  Random random(7);
  const Matrix<float> x = random.activations(90, in);
  const Statistics statistics = gram_of(x.view());
  const Matrix<float> w = random.normals(rows, in, 0.1);
  const Solved s = solve_linear(cpu_place(1), gptq(2, 20), statistics, w.view());
  const Matrix<float> value = rebuild_weight(cpu_place(1), s.linear);
  for (std::int64_t r = 0; r < rows; ++r) {
    double error = 0, norm = 0, weight_error = 0, weight_norm = 0;
    for (std::int64_t t = 0; t < x.rows(); ++t) {
      double y = 0, off = 0;
      for (std::int64_t j = 0; j < in; ++j) {
        y += static_cast<double>(x(t, j)) * static_cast<double>(w(r, j));
        off += static_cast<double>(x(t, j)) * static_cast<double>(w(r, j) - value(r, j));
      }
      error += off * off;
      norm += y * y;
    }
    for (std::int64_t j = 0; j < in; ++j) {
      weight_error += std::pow(static_cast<double>(w(r, j) - value(r, j)), 2);
      weight_norm += std::pow(static_cast<double>(w(r, j)), 2);
    }
    const auto at = static_cast<std::size_t>(r);
    EXPECT_NEAR(s.output_error[at], error, 1e-4 * error);
    EXPECT_NEAR(s.output_norm[at], norm, 1e-5 * norm);
    EXPECT_NEAR(s.weight_error[at], weight_error, 1e-6 * weight_error);
    EXPECT_NEAR(s.weight_norm[at], weight_norm, 1e-6 * weight_norm);
  }
}

TEST(Gptq, BeatsRoundToNearestOnTheOutput) {
  const std::int64_t in = 128;
  Random random(8);
  const Statistics statistics = gram_of(random.activations(400, in).view());
  const Matrix<float> w = random.normals(64, in, 0.05);
  Solved rtn = solve_linear(cpu_place(1), resolve_recipe("rtn", 3, 32, {}), {}, w.view());
  EXPECT_TRUE(std::isnan(rtn.output_error[0]));  // without a Gram matrix
  rtn.prepared.gram = statistics.gram.clone();
  solve_rows(cpu_place(1), resolve_recipe("rtn", 3, 32, {}), w.view(), 0, 64, rtn);
  for (const char* order : {"none", "act", "static", "gar"}) {
    const Solved s = solve_linear(cpu_place(1), gptq(3, 32, order), statistics, w.view());
    EXPECT_LT(s.total(s.output_error), 0.6 * rtn.total(rtn.output_error)) << order;
  }
}

// A power of two as the factor changes no bit; the loss scales with it.
TEST(Gptq, DoesNotDependOnTheScaleOfTheGram) {
  const std::int64_t in = 96;
  Random random(9);
  const Statistics one = gram_of(random.activations(300, in).view());
  const Matrix<float> w = random.normals(9, in, 0.05);
  for (const char* order : {"none", "act", "static", "gar"}) {
    const Solved a = solve_linear(cpu_place(1), gptq(3, 32, order), one, w.view());
    for (const float factor : {0x1p20f, 0x1p-20f}) {
      Statistics scaled{one.gram.clone(), one.tokens};
      for (std::int64_t i = 0; i < scaled.gram.size(); ++i) scaled.gram.data()[i] *= factor;
      const Solved b = solve_linear(cpu_place(1), gptq(3, 32, order), scaled, w.view());
      EXPECT_EQ(codes_of(a), codes_of(b)) << order;
      EXPECT_NEAR(b.loss[0], static_cast<double>(factor) * a.loss[0],
                  1e-5 * static_cast<double>(factor) * a.loss[0]);
    }
    Statistics tokens{one.gram.clone(), 1000 * one.tokens};  // N only scales the loss
    EXPECT_EQ(codes_of(a),
              codes_of(solve_linear(cpu_place(1), gptq(3, 32, order), tokens, w.view())));
  }
}

TEST(Gptq, TakesTheDampingMeanOverLiveColumns) {
  const std::int64_t in = 8;
  const Matrix<float> x = Random(10).activations(50, in);
  Matrix<float> wide(50, 2 * in);  // every other column without input
  wide.fill(0);
  for (std::int64_t t = 0; t < 50; ++t)
    for (std::int64_t j = 0; j < in; ++j) wide(t, 2 * j) = x(t, j);
  const Prepared narrow = kGptqSteps.prepare(cpu_place(1), gptq(4, -1), gram_of(x.view()), in);
  const Prepared dead = kGptqSteps.prepare(cpu_place(1), gptq(4, -1), gram_of(wide.view()), 2 * in);
  for (std::int64_t i = 0; i < in; ++i)
    for (std::int64_t j = 0; j < in; ++j)  // dead columns come last, and lend the others nothing
      EXPECT_FLOAT_EQ(dead.factor(i, j), narrow.factor(i, j));
}

TEST(Gptq, MakesWeightsZeroWhereNothingEverArrives) {
  Statistics none;
  none.gram = Matrix<float>(12, 12);
  none.gram.fill(0);
  none.tokens = 100;
  const Matrix<float> w = Random(11).normals(3, 12);
  for (const char* order : {"none", "act", "static", "gar"})
    for (const std::int64_t group : {-1L, 4L}) {
      const Solved s = solve_linear(cpu_place(1), gptq(4, group, order), none, w.view());
      const Matrix<float> value = rebuild_weight(cpu_place(1), s.linear);
      for (std::int64_t i = 0; i < value.size(); ++i) EXPECT_EQ(value.data()[i], 0.0f);
      EXPECT_EQ(s.linear.diagnostics.dead_columns, 12);
      EXPECT_FALSE(s.linear.diagnostics.fallback);
      EXPECT_EQ(s.total(s.loss), 0);
    }
}

TEST(Gptq, HoldsWithFewerTokensThanColumns) {
  const std::int64_t in = 64;
  Random random(12);
  const Statistics statistics = gram_of(random.activations(5, in).view());
  const Matrix<float> w = random.normals(7, in, 0.1);
  const Solved s = solve_linear(cpu_place(1), gptq(4, 32), statistics, w.view());
  EXPECT_EQ(s.prepared.damping_attempts, 1);
  EXPECT_FALSE(s.prepared.fallback);
  for (const double loss : s.loss) EXPECT_TRUE(std::isfinite(loss) && loss > 0);
}

// [1 a; a 1] with a > 1 has the eigenvalue 1 − a: damping makes it positive definite from p > a − 1
// on.
Statistics indefinite(float a) {
  Statistics s;
  s.gram = Matrix<float>(4, 4);
  s.gram.fill(0);
  for (std::int64_t i = 0; i < 4; ++i) s.gram(i, i) = 1;
  s.gram(1, 0) = a;
  s.tokens = 2;
  return s;
}

TEST(Gptq, ClimbsTheDampingLadder) {
  const struct {
    float a;
    double damping;
    std::int64_t attempts;
  } rungs[] = {{1.005f, 0.01, 1}, {1.015f, 0.02, 2}, {1.03f, 0.05, 3},
               {1.07f, 0.1, 4},   {1.15f, 0.2, 5},   {1.3f, 0.5, 6}};
  for (const auto& rung : rungs) {
    const Prepared p = kGptqSteps.prepare(cpu_place(1), gptq(4, -1), indefinite(rung.a), 4);
    EXPECT_DOUBLE_EQ(p.damping, rung.damping) << rung.a;
    EXPECT_EQ(p.damping_attempts, rung.attempts) << rung.a;
    EXPECT_FALSE(p.fallback);
    EXPECT_FALSE(p.factor.empty());
  }
  const Prepared own =
      kGptqSteps.prepare(cpu_place(1), gptq(4, -1, "static", {{"damp", 0.5}}), indefinite(1.3f), 4);
  EXPECT_EQ(own.damping, 0.5);
  EXPECT_EQ(own.damping_attempts, 1);
}

TEST(Gptq, FallsBackToRoundToNearest) {
  const Matrix<float> w = Random(13).normals(6, 4, 0.1);
  for (const char* order : {"none", "act", "static", "gar"}) {
    const Solved s = solve_linear(cpu_place(1), gptq(3, 2, order), indefinite(1.6f), w.view());
    EXPECT_TRUE(s.linear.diagnostics.fallback);
    EXPECT_EQ(s.linear.diagnostics.damping_attempts, 6);
    EXPECT_EQ(s.linear.find("group_index"), nullptr);
    const Solved rtn = solve_linear(cpu_place(1), resolve_recipe("rtn", 3, 2, {}), {}, w.view());
    EXPECT_EQ(codes_of(s), codes_of(rtn));
    EXPECT_EQ(s.linear.code_hash(), rtn.linear.code_hash());
    for (std::size_t r = 0; r < 6; ++r) EXPECT_DOUBLE_EQ(s.loss[r], s.output_error[r] / 2);
  }
}

TEST(Gptq, NamesANonFiniteGram) {
  for (const float bad : {std::nanf(""), HUGE_VALF}) {
    Statistics s = unit_statistics();
    s.gram(2, 1) = bad;
    try {
      kGptqSteps.prepare(cpu_place(1), gptq(4, -1), s, 3);
      FAIL() << "expected an Error";
    } catch (const Error& e) {
      EXPECT_THAT(e.what(), HasSubstr("gram is"));
      EXPECT_THAT(e.what(), HasSubstr("row 2, column 1"));
    }
  }
  Statistics above = unit_statistics();
  above.gram(0, 2) = std::nanf("");  // nobody reads above the diagonal
  EXPECT_NO_THROW(kGptqSteps.prepare(cpu_place(1), gptq(4, -1), above, 3));
  EXPECT_THROW(kGptqSteps.prepare(cpu_place(1), gptq(4, -1), above, 4), Error);
}

TEST(Gptq, StoresTheGroupIndexWhereGroupsArePermuted) {
  const std::int64_t in = 16;
  Random random(14);
  const Statistics statistics = gram_of(random.activations(64, in).view());
  const Matrix<float> w = random.normals(2, in);
  for (const char* order : {"none", "act", "static", "gar"})
    for (const std::int64_t group : {-1L, 4L}) {
      const Solved s = solve_linear(cpu_place(1), gptq(4, group, order), statistics, w.view());
      const bool permuted = std::string(order) == "act" && group == 4;
      const StoredArray* index = s.linear.find("group_index");
      ASSERT_EQ(index != nullptr, permuted) << order;
      const StoredArray* stored = s.linear.find("order");
      ASSERT_EQ(stored != nullptr, std::string(order) != "none");
      if (stored != nullptr) {
        EXPECT_FALSE(stored->required);
      }
      if (!permuted) continue;
      EXPECT_TRUE(index->required);
      const auto* groups = reinterpret_cast<const std::int32_t*>(index->data.data());
      for (std::int64_t i = 0; i < in; ++i)
        EXPECT_EQ(groups[s.prepared.order[static_cast<std::size_t>(i)]], i / 4);
      EXPECT_NEAR(s.linear.bits_per_weight(), 4 + (4 * 16 + 4 * 4) / 16.0 + 32 * in / 32.0, 1e-12);
    }
}

TEST(Gptq, CompatTakesStaleRanges) {
  const std::int64_t in = 128;
  Random random(15);
  const Statistics statistics = gram_of(random.activations(500, in).view());
  const Matrix<float> w = random.normals(3, in, 0.1);
  const Solved fresh = solve_linear(cpu_place(1), gptq(2, 32, "none"), statistics, w.view());
  const Solved stale =
      solve_linear(cpu_place(1), gptq(2, 32, "none", {{"compat", true}}), statistics, w.view());
  EXPECT_EQ(stale.scales(0, 0), fresh.scales(0, 0));
  EXPECT_NE(stale.scales(0, 3), fresh.scales(0, 3));
}

}  // namespace
}  // namespace bitgrid::test
