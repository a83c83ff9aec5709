#include "core/methods/gptq.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/methods/grid.hpp"
#include "core/methods/resolve_recipe.hpp"
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

Statistics unit_statistics() {
  const float x[] = {1, 2, 0.5f, 2, 0, 1, 0, 1, -1, 1, -1, 2};
  return gram_of({x, 4, 3});
}

// The factor as the solve of such statistics sees it; copies, so that it outlives the work.
struct Factored {
  std::vector<std::int32_t> order;
  Matrix<float> u;
  double damping = 0;
  std::int64_t attempts = 0;
  bool fallback = false;
};
Factored factor_of(const Recipe& recipe, const Statistics& statistics) {
  const Place place = cpu_place(1);
  SoloTapWork work(place, made_up(statistics.gram.clone(), statistics.tokens));
  const Factor f =
      shared_factor(place, work, {recipe.number("damp"), recipe.word("order"), recipe.group});
  Factored copy{{f.order.begin(), f.order.end()}, {}, f.damping, f.damping_attempts, f.fallback};
  copy.u = Matrix<float>(f.u.rows, f.u.cols);
  for (std::int64_t i = 0; i < f.u.rows; ++i)
    for (std::int64_t j = 0; j < f.u.cols; ++j) copy.u(i, j) = f.u(i, j);
  return copy;
}
const float kUnitRow[] = {0.86f, -0.08f, -0.94f};

TEST(Gptq, MatchesTheUnitVector) {
  const Statistics statistics = unit_statistics();
  const double gram[] = {6, 0, 0, 1, 6, 0, 4.5, -2, 6.25};
  EXPECT_TRUE(std::equal(std::begin(gram), std::end(gram), statistics.gram.data()));
  const Recipe recipe = gptq(3, -1, "none");
  const Solved s = solve_linear(cpu_place(1), recipe, statistics, {kUnitRow, 1, 3});
  EXPECT_THAT(codes_of(s), ElementsAre(7, 4, 1));
  EXPECT_EQ(s.zeros(0, 0), 4);
  EXPECT_FLOAT_EQ(f16_to_f32(s.scales(0, 0)), 0.25708008f);
  EXPECT_NEAR(s.loss(), 0.0158134, 1e-7);
  EXPECT_EQ(s.linear.diagnostics.damping, 0.01);
  EXPECT_EQ(s.linear.diagnostics.damping_attempts, 1);
  EXPECT_FALSE(s.linear.diagnostics.fallback);
  const Solved rtn =
      solve_linear(cpu_place(1), resolve_recipe("rtn", 3, -1, {}), {}, {kUnitRow, 1, 3});
  EXPECT_THAT(codes_of(rtn), ElementsAre(7, 4, 0));
}

TEST(Gptq, SortsColumns) {
  const auto order_of = [](const char* mode, std::int64_t group, std::vector<float> diagonal) {
    const auto in = static_cast<std::int64_t>(diagonal.size());
    Matrix<double> gram(in, in);
    gram.fill(0);
    for (std::int64_t j = 0; j < in; ++j)
      gram(j, j) = static_cast<double>(diagonal[static_cast<std::size_t>(j)]);
    return factor_of(gptq(4, group, mode), made_up(std::move(gram), in)).order;
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
    EXPECT_EQ(s.linear.diagnostics.dead_columns, 2);
    const std::int64_t group = c.group < 0 ? in : c.group;
    const std::string order = c.order;
    GptqOracle oracle;
    oracle.grid = {3, c.symmetric, true};
    oracle.h = damped_oracle(statistics, 0.01);
    oracle.dynamic_group = c.group < 0 || order == "static" ? 0 : group;
    oracle.reinvert = in < 40;
    for (std::int64_t i = 0; i < in; ++i) {
      oracle.order.push_back(s.order.empty() ? i : s.order[static_cast<std::size_t>(i)]);
      oracle.group_of.push_back((order == "act" ? i : oracle.order.back()) / group);
    }
    const Matrix<float>& value = s.weight;
    double loss = 0, exact = 0;
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
      loss += replay.loss;
      // loss = ½·(w − q) H (w − q)ᵀ with the damped H and the weight after dead columns were
      // cleared.
      std::vector<double> off;
      for (std::int64_t j = 0; j < in; ++j)
        off.push_back(row[static_cast<std::size_t>(j)] - static_cast<double>(value(r, j)));
      exact += 0.5 * quadratic_oracle(oracle.h, off);
      if (oracle.dynamic_group > 0) continue;
      for (std::int64_t g = 0; g < in / group; ++g) {  // fixed grids come from the original weights
        const ScaleZero fixed = grid_oracle(
            oracle.grid,
            std::vector<double>(row.begin() + g * group, row.begin() + (g + 1) * group));
        EXPECT_NEAR(scales[static_cast<std::size_t>(g)], fixed.scale, 0x1.1p-10 * fixed.scale);
      }
    }
    EXPECT_NEAR(s.loss(), loss, 1e-4 * loss);
    EXPECT_NEAR(s.loss(), exact, 1e-4 * loss);
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
  const Matrix<float> w = random.normals(rows, in, 0.1);
  const Solved s = solve_linear(cpu_place(1), gptq(2, 20), gram_of(x.view()), w.view());
  double error = 0, norm = 0, weight_error = 0, weight_norm = 0;
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t t = 0; t < x.rows(); ++t) {
      double y = 0, off = 0;
      for (std::int64_t j = 0; j < in; ++j) {
        y += static_cast<double>(x(t, j)) * static_cast<double>(w(r, j));
        off += static_cast<double>(x(t, j)) * static_cast<double>(w(r, j) - s.weight(r, j));
      }
      error += off * off;
      norm += y * y;
    }
    for (std::int64_t j = 0; j < in; ++j) {
      weight_error += std::pow(static_cast<double>(w(r, j) - s.weight(r, j)), 2);
      weight_norm += std::pow(static_cast<double>(w(r, j)), 2);
    }
  }
  const LinearDiagnostics& d = s.linear.diagnostics;
  EXPECT_NEAR(d.relative_output_error, error / norm, 1e-4 * error / norm);
  EXPECT_NEAR(d.relative_weight_error, weight_error / weight_norm,
              1e-6 * weight_error / weight_norm);
}

TEST(Gptq, BeatsRoundToNearestOnTheOutput) {
  const std::int64_t in = 128;
  Random random(8);
  const Matrix<float> x = random.activations(400, in);
  const Statistics statistics = gram_of(x.view());
  const Square gram = gram_oracle(x.view());
  const Matrix<float> w = random.normals(64, in, 0.05);
  const auto output_error = [&](const Solved& s) {
    double sum = 0;
    for (std::int64_t r = 0; r < 64; ++r) {
      std::vector<double> off;
      for (std::int64_t j = 0; j < in; ++j)
        off.push_back(static_cast<double>(w(r, j) - s.weight(r, j)));
      sum += quadratic_oracle(gram, off);
    }
    return sum;
  };
  const Solved rtn = solve_linear(cpu_place(1), resolve_recipe("rtn", 3, 32, {}), {}, w.view());
  EXPECT_TRUE(std::isnan(rtn.linear.diagnostics.relative_output_error));  // without a Gram matrix
  for (const char* order : {"none", "act", "static", "gar"}) {
    const Solved s = solve_linear(cpu_place(1), gptq(3, 32, order), statistics, w.view());
    EXPECT_LT(output_error(s), 0.6 * output_error(rtn)) << order;
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
      Statistics scaled = made_up(one.gram.clone(), one.tokens);
      for (std::int64_t i = 0; i < scaled.gram.size(); ++i)
        scaled.gram.data()[i] *= static_cast<double>(factor);
      const Solved b = solve_linear(cpu_place(1), gptq(3, 32, order), scaled, w.view());
      EXPECT_EQ(codes_of(a), codes_of(b)) << order;
      EXPECT_NEAR(b.loss(), static_cast<double>(factor) * a.loss(),
                  1e-5 * static_cast<double>(factor) * a.loss());
    }
    const Statistics tokens =
        made_up(one.gram.clone(), 1000 * one.tokens);  // N only scales the loss
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
  const Factored narrow = factor_of(gptq(4, -1), gram_of(x.view()));
  const Factored dead = factor_of(gptq(4, -1), gram_of(wide.view()));
  for (std::int64_t i = 0; i < in; ++i)
    for (std::int64_t j = 0; j < in; ++j)  // dead columns come last, and lend the others nothing
      EXPECT_FLOAT_EQ(dead.u(i, j), narrow.u(i, j));
}

TEST(Gptq, MakesWeightsZeroWhereNothingEverArrives) {
  Statistics none = made_up(Matrix<double>(12, 12), 100);
  none.gram.fill(0);
  const Matrix<float> w = Random(11).normals(3, 12);
  for (const char* order : {"none", "act", "static", "gar"})
    for (const std::int64_t group : {-1L, 4L}) {
      const Solved s = solve_linear(cpu_place(1), gptq(4, group, order), none, w.view());
      for (std::int64_t i = 0; i < s.weight.size(); ++i) EXPECT_EQ(s.weight.data()[i], 0.0f);
      EXPECT_EQ(s.linear.diagnostics.dead_columns, 12);
      EXPECT_FALSE(s.linear.diagnostics.fallback);
      EXPECT_EQ(s.loss(), 0);
    }
}

TEST(Gptq, HoldsWithFewerTokensThanColumns) {
  const std::int64_t in = 64;
  Random random(12);
  const Statistics statistics = gram_of(random.activations(5, in).view());
  const Matrix<float> w = random.normals(7, in, 0.1);
  const Solved s = solve_linear(cpu_place(1), gptq(4, 32), statistics, w.view());
  EXPECT_EQ(s.linear.diagnostics.damping_attempts, 1);
  EXPECT_FALSE(s.linear.diagnostics.fallback);
  EXPECT_TRUE(std::isfinite(s.loss()) && s.loss() > 0);
}

// [1 a; a 1] with a > 1 has the eigenvalue 1 − a: damping makes it positive definite from p > a − 1
// on.
Statistics indefinite(double a) {
  Statistics s = made_up(Matrix<double>(4, 4), 2);
  s.gram.fill(0);
  for (std::int64_t i = 0; i < 4; ++i) s.gram(i, i) = 1;
  s.gram(1, 0) = a;
  return s;
}

TEST(Gptq, ClimbsTheDampingLadder) {
  const struct {
    double a;
    double damping;
    std::int64_t attempts;
  } rungs[] = {{1.005, 0.01, 1}, {1.015, 0.02, 2}, {1.03, 0.05, 3},
               {1.07, 0.1, 4},   {1.15, 0.2, 5},   {1.3, 0.5, 6}};
  for (const auto& rung : rungs) {
    const Factored p = factor_of(gptq(4, -1), indefinite(rung.a));
    EXPECT_DOUBLE_EQ(p.damping, rung.damping) << rung.a;
    EXPECT_EQ(p.attempts, rung.attempts) << rung.a;
    EXPECT_FALSE(p.fallback);
    EXPECT_FALSE(p.u.empty());
  }
  const Factored own = factor_of(gptq(4, -1, "static", {{"damp", 0.5}}), indefinite(1.3));
  EXPECT_EQ(own.damping, 0.5);
  EXPECT_EQ(own.attempts, 1);
}

TEST(Gptq, FallsBackToRoundToNearest) {
  const Matrix<float> w = Random(13).normals(6, 4, 0.1);
  for (const char* order : {"none", "act", "static", "gar"}) {
    const Solved s = solve_linear(cpu_place(1), gptq(3, 2, order), indefinite(1.6), w.view());
    EXPECT_TRUE(s.linear.diagnostics.fallback);
    EXPECT_EQ(s.linear.diagnostics.damping_attempts, 6);
    EXPECT_EQ(s.linear.find("group_index"), nullptr);
    const Solved rtn = solve_linear(cpu_place(1), resolve_recipe("rtn", 3, 2, {}), {}, w.view());
    EXPECT_EQ(codes_of(s), codes_of(rtn));
    EXPECT_EQ(s.linear.code_hash(), rtn.linear.code_hash());
    double off = 0;
    const Statistics statistics = indefinite(1.6);
    const Square h = from_lower(statistics.gram.view());
    for (std::int64_t r = 0; r < 6; ++r) {
      std::vector<double> d;
      for (std::int64_t j = 0; j < 4; ++j)
        d.push_back(static_cast<double>(w(r, j) - s.weight(r, j)));
      off += quadratic_oracle(h, d);
    }
    EXPECT_NEAR(s.loss(), off / 2, 1e-5 * std::fabs(off) + 1e-9);  // ½·dHdᵀ, H = 2S/N, N = 2
  }
}

TEST(Gptq, NamesANonFiniteGram) {
  for (const double bad : {std::nan(""), HUGE_VAL}) {
    Statistics s = unit_statistics();
    s.gram(2, 1) = bad;
    try {
      factor_of(gptq(4, -1), s);
      FAIL() << "expected an Error";
    } catch (const Error& e) {
      EXPECT_THAT(e.what(), HasSubstr("gram is"));
      EXPECT_THAT(e.what(), HasSubstr("row 2, column 1"));
    }
  }
  Statistics above = unit_statistics();
  above.gram(0, 2) = std::nan("");  // nobody reads above the diagonal
  EXPECT_NO_THROW(factor_of(gptq(4, -1), above));
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
        EXPECT_EQ(groups[s.order[static_cast<std::size_t>(i)]], i / 4);
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

// Cells that see the unquantized model's inputs keep the norms of its outputs for each other.
TEST(Gptq, CellsWithTheSameInputsAgreeOnErrors) {
  Random random(16);
  const Statistics statistics = gram_of(random.activations(300, 33).view());
  const auto copy = [&] {
    Statistics s;
    s.gram = statistics.gram.clone();
    s.tokens = statistics.tokens;
    return s;
  };
  const Matrix<float> one = random.normals(40, 33), other = random.normals(40, 33, 2.0);
  const Place place = cpu_place(2);
  SoloTapWork together(place, copy());
  for (const double bits : {2.0, 3.0, 8.0})
    for (const Matrix<float>* w : {&one, &other}) {
      const Recipe recipe = gptq(bits, -1, "static", {{"inputs", std::string("full")}});
      SoloTapWork alone(place, copy());
      const auto error = [&](SoloTapWork& work) {
        return round_linear(place, recipe, w->view(), work)
            .stored.diagnostics.relative_output_error;
      };
      EXPECT_EQ(error(together), error(alone)) << bits << " bits";
    }
}

}  // namespace
}  // namespace bitgrid::test
