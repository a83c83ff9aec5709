#include "kernels/slab_rows.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "kernels/error.hpp"
#include "kernels/gptq_rows.hpp"
#include "kernels/softmax_divergence.hpp"
#include "tests/oracle/quantization.hpp"
#include "tests/oracle/random.hpp"
#include "tests/oracle/toy_layer.hpp"

namespace bitgrid::test {
namespace {

std::vector<float> narrow_factors() {
  std::vector<float> factors = {1.0f};
  for (int i = 1; i <= 50; ++i) factors.push_back(static_cast<float>(1 + 0.002 * i));
  for (int i = 1; i <= 50; ++i) factors.push_back(static_cast<float>(1 - 0.002 * i));
  return factors;
}

struct Solution {
  Matrix<float> scale, zero, q;
  Matrix<std::uint8_t> codes;
  std::vector<double> loss;
  double total() const { return std::accumulate(loss.begin(), loss.end(), 0.0); }
};

Solution solve(const SlabColumns& c, MatrixView<const float> w, int threads = 1) {
  const auto slabs = std::ssize(c.widths);
  Solution s{Matrix<float>(w.rows, slabs), Matrix<float>(w.rows, slabs),
             Matrix<float>(w.rows, w.cols), Matrix<std::uint8_t>(w.rows, w.cols),
             std::vector<double>(static_cast<std::size_t>(w.rows))};
  slab_rows(cpu_place(threads), c, w, s.scale.view(), s.zero.view(), s.codes.view(), s.loss);
  for (std::int64_t r = 0; r < w.rows; ++r)
    for (std::int64_t j = 0; j < w.cols; ++j) {
      const std::int64_t g = j / c.group;
      const double scale = s.scale(r, g), zero = s.zero(r, g), code = s.codes(r, j);
      const bool binary = c.widths[static_cast<std::size_t>(g)] == 1;
      EXPECT_LT(code, 1 << c.widths[static_cast<std::size_t>(g)]);
      s.q(r, j) =
          static_cast<float>(binary ? zero + scale * (2 * code - 1) : scale * (code - zero));
    }
  return s;
}

SlabColumns toy_columns(const ToyLayer& toy, std::span<const std::uint8_t> widths,
                        std::span<const float> factors) {
  SlabColumns c;
  c.factor = toy.u.view();
  c.widths = widths;
  c.group = 4;
  c.factors = factors;
  c.scale_f16 = false;
  return c;
}

TEST(SlabRows, MatchesTheUnitVector) {
  const ToyLayer toy;
  const std::vector<float> factors = narrow_factors();
  const std::vector<std::uint8_t> two = {1, 2, 2, 3}, three = {2, 3, 3, 4}, alike = {2, 2, 2, 2};
  const Solution s = solve(toy_columns(toy, two, factors), toy.w.view());
  const double row[] = {-.602250, -.602250, .175250, .175250, -.513083, 1.026167,
                        1.026167, -.513083, 0,       .804116, 0,        -.402058,
                        -.521986, -.347991, 0,       .695982};
  for (std::int64_t j = 0; j < 16; ++j) EXPECT_NEAR(s.q(0, j), row[j], 2e-6) << j;
  EXPECT_NEAR(s.total(), 5.522295, 1e-5);
  EXPECT_NEAR(toy.loss(s.q.view()), 5.522295, 1e-5);
  EXPECT_NEAR(solve(toy_columns(toy, three, factors), toy.w.view()).total(), 1.104777, 3e-6);
  SlabColumns c = toy_columns(toy, alike, factors);
  EXPECT_NEAR(solve(c, toy.w.view()).total(), 18.249358, 4e-5);
  c.search = SlabSearch::none;
  EXPECT_NEAR(solve(c, toy.w.view()).total(), 30.229856, 6e-5);
}

TEST(SlabRows, SearchesTheRangeAsTheUnitVectorSays) {
  const ToyLayer toy;
  const std::vector<float> factors = narrow_factors();
  const std::vector<std::uint8_t> widths = {2, 2, 2, 2};
  const Solution s = solve(toy_columns(toy, widths, factors), toy.w.view());
  const double tau[] = {.900, .922, .902}, zero[] = {2, 2, 1};
  for (std::int64_t r = 0; r < 3; ++r) {  // slab 0 is the original weights
    double lo = 0, hi = 0;
    for (std::int64_t j = 0; j < 4; ++j) {
      lo = std::min(lo, static_cast<double>(toy.w(r, j)));
      hi = std::max(hi, static_cast<double>(toy.w(r, j)));
    }
    EXPECT_NEAR(s.scale(r, 0) * 3 / (hi - lo), tau[r], 1e-6);
    EXPECT_EQ(s.zero(r, 0), zero[r]);
  }
}

struct Layer {
  Layer(std::int64_t rows, std::int64_t in)
      : h(in), u(in, in), w(Random(3).normals(rows, in, 0.1)) {
    const Matrix<float> x = Random(4).activations(2 * in, in);
    h = gram_oracle(x.view());
    Matrix<double> s(in, in);
    std::vector<double> diagonal;
    for (std::int64_t i = 0; i < in; ++i) {
      for (std::int64_t j = 0; j < in; ++j) s(i, j) = h(i, j);
      h(i, i) *= 1.01;
      diagonal.push_back(h(i, i));
    }
    EXPECT_EQ(inverse_factor(cpu_place(1), {s.view(), 1, diagonal, {}}, u.view()), -1);
  }
  Square h;
  Matrix<float> u, w;
};

TEST(SlabRows, OfOneWidthAndNoSearchIsGptq) {
  const Layer layer(133, 256);
  for (const std::int64_t group : {32L, 128L})
    for (const int bits : {2, 4}) {
      const std::vector<std::uint8_t> widths(static_cast<std::size_t>(256 / group),
                                             static_cast<std::uint8_t>(bits));
      SlabColumns c;
      c.factor = layer.u.view();
      c.widths = widths;
      c.group = group;
      c.search = SlabSearch::none;
      const Solution s = solve(c, layer.w.view());
      std::vector<std::int32_t> groups;
      for (std::int64_t j = 0; j < 256; ++j) groups.push_back(static_cast<std::int32_t>(j / group));
      GptqColumns g;
      g.grid.bits = bits;
      g.factor = layer.u.view();
      g.group_of = groups;
      g.dynamic_group = group;
      Matrix<float> scales(133, 256 / group);
      Matrix<std::uint8_t> zeros(133, 256 / group), codes(133, 256);
      std::vector<double> loss(133);
      gptq_rows(cpu_place(1), g, layer.w.view(), scales.view(), zeros.view(), codes.view(), loss);
      EXPECT_TRUE(std::equal(codes.data(), codes.data() + codes.size(), s.codes.data()));
      EXPECT_TRUE(std::equal(scales.data(), scales.data() + scales.size(), s.scale.data()));
      EXPECT_EQ(loss, s.loss);
    }
}

TEST(SlabRows, LossIsTheObjectiveAndRowsAreAlone) {
  const Layer layer(133, 260);
  const std::vector<std::uint8_t> small = {1, 2, 8, 1, 3, 2, 1, 4, 5, 6, 7, 2, 1}, large = {1, 3};
  const std::vector<float> factors = narrow_factors();
  for (const auto& widths : {small, large})
    for (const SlabSearch search : {SlabSearch::power, SlabSearch::hessian}) {
      SlabColumns c;
      c.factor = layer.u.view();
      c.widths = widths;
      c.group = 260 / std::ssize(widths);
      c.factors = factors;
      c.search = search;
      const Solution s = solve(c, layer.w.view());
      for (const std::int64_t r : {0L, 132L}) {
        std::vector<double> off;
        for (std::int64_t j = 0; j < 260; ++j)
          off.push_back(static_cast<double>(layer.w(r, j)) - static_cast<double>(s.q(r, j)));
        const double expected = 0.5 * quadratic_oracle(layer.h, off);
        EXPECT_NEAR(s.loss[static_cast<std::size_t>(r)], expected, 2e-4 * expected);
      }
      const Solution two = solve(c, layer.w.view(), 2);
      EXPECT_EQ(s.loss, two.loss);
      const Solution last = solve(c, layer.w.rows_from(128, 5));
      EXPECT_TRUE(
          std::equal(last.codes.data(), last.codes.data() + last.codes.size(), s.codes.row(128)));
    }
}

// The first factor with the smallest error, in fp64; a few near-ties may go the other way.
TEST(SlabRows, SearchFindsTheSmallestError) {
  const Layer layer(40, 12);
  const std::vector<std::uint8_t> widths = {3};
  const std::vector<float> factors = narrow_factors();
  Matrix<float> weights = Random(9).normals(40, 12, 1);
  for (std::int64_t i = 0; i < weights.size(); ++i)
    weights.data()[i] = weights.data()[i] > 0 ? 5.0f : 1.0f;
  for (const int kind : {0, 1, 2}) {  // power, power with element weights, hessian
    SlabColumns c;
    c.factor = layer.u.view();
    c.widths = widths;
    c.group = 12;
    c.factors = factors;
    if (kind == 1) c.element_weights = weights.view();
    if (kind == 2) c.search = SlabSearch::hessian;
    const Solution s = solve(c, layer.w.view());
    for (std::int64_t r = 0; r < 40; ++r) {
      const std::vector<double> row(layer.w.row(r), layer.w.row(r) + 12);
      const auto error = [&](ScaleZero g) {
        double sum = 0;
        for (std::int64_t j = 0; j < 12; ++j) {
          const double w = row[static_cast<std::size_t>(j)];
          const double off = std::fabs(g.scale * (code_oracle({3}, w, g) - g.zero) - w);
          const auto u = static_cast<double>(layer.u(j, j));
          sum += kind == 2 ? off * off / (u * u)
                           : std::pow(off, 2.4) * (kind == 1 ? double{weights(r, j)} : 1.0);
        }
        return sum;
      };
      double best = HUGE_VAL;
      for (const float p : factors)
        best = std::min(best, error(grid_oracle({3}, row, static_cast<double>(p))));
      const double found = error({s.scale(r, 0), s.zero(r, 0)});
      EXPECT_LE(found, best * (1 + 1e-4)) << kind << " " << r;
      EXPECT_GE(found, best * (1 - 1e-9));
    }
  }
}

TEST(SlabRows, AllElementsAlikeIsNoElementWeights) {
  const Layer layer(20, 24);
  const std::vector<std::uint8_t> widths = {2, 3, 4};
  const std::vector<float> factors = narrow_factors();
  SlabColumns c;
  c.factor = layer.u.view();
  c.widths = widths;
  c.group = 8;
  c.factors = factors;
  const Solution s = solve(c, layer.w.view());
  Matrix<float> ones(20, 24);
  ones.fill(1);
  c.element_weights = ones.view();
  const Solution t = solve(c, layer.w.view());
  EXPECT_TRUE(std::equal(s.codes.data(), s.codes.data() + s.codes.size(), t.codes.data()));
  EXPECT_EQ(s.loss, t.loss);
}

TEST(SlabRows, OneBitLeavesDeadColumnsOut) {
  Matrix<float> w(2, 8);
  const float rows[] = {1, 0, 3, 0, 0, 0, 0, 0, -2, 0, 2, 0, 0, 0, 0, 0};
  std::copy(std::begin(rows), std::end(rows), w.data());
  const std::vector<std::uint8_t> widths = {1, 1}, dead = {0, 1, 0, 1, 1, 1, 1, 1};
  SlabColumns c;
  c.widths = widths;
  c.group = 4;
  c.dead = dead;
  const Solution s = solve(c, w.view());
  EXPECT_EQ(s.zero(0, 0), 2);
  EXPECT_EQ(s.scale(0, 0), 1);
  EXPECT_EQ(s.zero(1, 0), 0);
  EXPECT_EQ(s.scale(1, 0), 2);
  EXPECT_EQ(s.scale(0, 1), 0);
  EXPECT_EQ(s.total(), 0);
  for (std::int64_t j : {1, 3, 4, 7}) EXPECT_EQ(s.codes(0, j), 0);
}

TEST(SlabRows, RefusesShapesThatDoNotFit) {
  const Matrix<float> w = Random(1).normals(2, 8);
  std::vector<std::uint8_t> widths = {2, 2};
  SlabColumns c;
  c.group = 4;
  for (const std::uint8_t bad : {0, 9}) {
    widths[1] = bad;
    c.widths = widths;
    Matrix<float> scale(2, 2), zero(2, 2);
    Matrix<std::uint8_t> codes(2, 8);
    std::vector<double> loss(2);
    EXPECT_THROW(
        slab_rows(cpu_place(1), c, w.view(), scale.view(), zero.view(), codes.view(), loss), Error);
  }
  widths[1] = 2;
  c.search = SlabSearch::hessian;
  EXPECT_THROW(solve(c, w.view()), Error);
}

double divergence_oracle(const std::vector<double>& p, const std::vector<double>& q) {
  double zp = 0, zq = 0, sum = 0;
  for (const double v : p) zp += std::exp(v);
  for (const double v : q) zq += std::exp(v);
  for (std::size_t i = 0; i < p.size(); ++i)
    sum += std::exp(p[i]) / zp * ((p[i] - std::log(zp)) - (q[i] - std::log(zq)));
  return sum;
}

TEST(SoftmaxDivergence, IsThatOfTheDefinition) {
  for (const std::int64_t n : {1L, 3L, 129L, 2500L}) {
    const Matrix<float> base = Random(1).normals(35, n, 2), change = Random(2).normals(35, n, 0.3);
    const Matrix<float> f = Random(3).normals(35, n, 2);
    std::vector<double> sums(35), kl(35);
    log_sum_exp(cpu_place(2), f.view(), sums);
    for (const bool from_changed : {true, false}) {
      softmax_divergence(
          cpu_place(2),
          from_changed ? Divergence::changed_from_fixed : Divergence::fixed_from_changed,
          base.view(), change.view(), f.view(), sums, kl);
      for (std::int64_t r = 0; r < 35; ++r) {
        std::vector<double> y, q(f.row(r), f.row(r) + n);
        for (std::int64_t i = 0; i < n; ++i) y.push_back(double{base(r, i)} + double{change(r, i)});
        const double expected = from_changed ? divergence_oracle(y, q) : divergence_oracle(q, y);
        EXPECT_NEAR(kl[static_cast<std::size_t>(r)], expected, 2e-6 * (1 + expected)) << n;
        EXPECT_GE(kl[static_cast<std::size_t>(r)], 0);
      }
    }
  }
}

TEST(SoftmaxDivergence, WithoutAChangeIsThatOfTheBase) {
  const Matrix<float> base = Random(1).normals(5, 1030, 2), f = Random(3).normals(5, 1030, 2);
  Matrix<float> none(5, 1030);
  none.fill(0);
  std::vector<double> sums(5), kl(5), without(5);
  log_sum_exp(cpu_place(1), f.view(), sums);
  for (const Divergence d : {Divergence::changed_from_fixed, Divergence::fixed_from_changed}) {
    softmax_divergence(cpu_place(2), d, base.view(), none.view(), f.view(), sums, kl);
    softmax_divergence(cpu_place(2), d, base.view(), {}, f.view(), sums, without);
    EXPECT_EQ(kl, without);
  }
}

TEST(LargestColumns, AreTheFirstOfEqualOnes) {
  for (const std::int64_t n : {1L, 3L, 129L, 1030L}) {
    Matrix<float> x = Random(4).normals(7, n, 1);
    std::vector<std::int32_t> expected(7, 0), columns(7, -1);
    for (std::int64_t r = 0; r < 7; ++r) {
      expected[static_cast<std::size_t>(r)] = static_cast<std::int32_t>(r * n / 7);
      for (std::int64_t j = r * n / 7; j < n; j += 3) x(r, j) = 9;
    }
    largest_columns(cpu_place(2), x.view(), columns);
    EXPECT_EQ(columns, expected) << n;
  }
  std::vector<std::int32_t> few(6);
  EXPECT_THROW(largest_columns(cpu_place(1), Matrix<float>(7, 2).view(), few), Error);
}

TEST(SoftmaxDivergence, OfAnOutputFromItselfIsZero) {
  Matrix<float> f = Random(3).normals(9, 301, 30), none(9, 301);
  none.fill(0);
  std::vector<double> sums(9), kl(9, 1.0);
  log_sum_exp(cpu_place(1), f.view(), sums);
  for (const Divergence d : {Divergence::changed_from_fixed, Divergence::fixed_from_changed}) {
    softmax_divergence(cpu_place(1), d, f.view(), none.view(), f.view(), sums, kl);
    EXPECT_THAT(kl, testing::Each(0.0));
  }
  f(4, 7) = NAN;
  softmax_divergence(cpu_place(1), Divergence::changed_from_fixed, f.view(), none.view(), f.view(),
                     sums, kl);
  EXPECT_TRUE(std::isnan(kl[4]));
}

}  // namespace
}  // namespace bitgrid::test
