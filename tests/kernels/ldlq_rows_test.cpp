#include "kernels/ldlq_rows.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <numeric>

#include "kernels/error.hpp"
#include "kernels/gptq_rows.hpp"
#include "kernels/inverse_factor.hpp"
#include "tests/oracle/quip.hpp"
#include "tests/oracle/random.hpp"
#include "tests/tolerance.hpp"

namespace bitgrid::test {
namespace {

// H with a mean diagonal of 1, some damping, and its factor in the order of LDLQ.
struct Problem {
  explicit Problem(const Square& of) : h(of), g(of.n, of.n), d(static_cast<std::size_t>(of.n)) {
    order.resize(static_cast<std::size_t>(h.n));
    std::iota(order.rbegin(), order.rend(), 0);
    factor();
  }
  static Square random(std::int64_t in, std::uint64_t seed) {
    Square s = gram_oracle(Random(seed).activations(2 * in + 3, in).view());
    double trace = 0;
    for (std::int64_t i = 0; i < in; ++i) trace += s(i, i);
    for (double& x : s.a) x *= static_cast<double>(in) / trace;
    for (std::int64_t i = 0; i < in; ++i) s(i, i) += 0.0201;
    return s;
  }
  void factor() {
    Matrix<double> lower(h.n, h.n);
    lower.fill(std::numeric_limits<double>::quiet_NaN());
    std::vector<double> diagonal;
    ordered = Matrix<float>(h.n, h.n);
    for (std::int64_t i = 0; i < h.n; ++i) {
      for (std::int64_t j = 0; j < h.n; ++j) {
        if (j <= i) lower(i, j) = h(i, j);
        ordered(i, j) = static_cast<float>(
            h(order[static_cast<std::size_t>(i)], order[static_cast<std::size_t>(j)]));
      }
      diagonal.push_back(h(i, i));
    }
    ASSERT_EQ(feedback_factor(cpu_place(2), {lower.view(), 1.0, diagonal, order}, g.view(), d), -1);
  }
  LdlqColumns columns(int bits) const {
    LdlqColumns c;
    c.bits = bits;
    c.order = order;
    c.feedback = g.view();
    c.d = d;
    c.h = ordered.view();
    return c;
  }

  Square h;
  std::vector<std::int32_t> order;
  Matrix<float> g, ordered;
  std::vector<double> d;
};

struct Solved {
  Matrix<std::uint8_t> codes;
  Matrix<double> loss;
  std::vector<double> row(std::int64_t r) const {
    return {codes.row(r), codes.row(r) + codes.cols()};
  }
};

// v stands for w/delta + maxq/2.
Matrix<float> weights_of(const Matrix<float>& v, int bits) {
  Matrix<float> w = v.clone();
  for (std::int64_t i = 0; i < w.size(); ++i)
    w.data()[i] -= 0.5f * static_cast<float>((1 << bits) - 1);
  return w;
}

Solved solve(const LdlqColumns& columns, const Matrix<float>& v, int threads = 2) {
  const Matrix<float> w = weights_of(v, columns.bits);
  Solved s{Matrix<std::uint8_t>(v.rows(), v.cols()), Matrix<double>(v.rows(), 2)};
  ldlq_rows(cpu_place(threads), columns, w.view(), s.codes.view(), s.loss.view());
  return s;
}

std::vector<double> widened(const Matrix<float>& v, std::int64_t r) {
  return {v.row(r), v.row(r) + v.cols()};
}

Matrix<float> targets(std::int64_t rows, std::int64_t in, int bits, std::uint64_t seed) {
  Matrix<float> v = Random(seed).normals(rows, in);
  const float maxq = static_cast<float>((1 << bits) - 1);
  for (std::int64_t i = 0; i < v.size(); ++i) v.data()[i] = 0.5f * maxq + v.data()[i] * maxq / 4.8f;
  return v;
}

Square unit_vector_h() {
  Square h(4);
  h.a = {2, 1, .5, 0, 1, 3, -1, .5, .5, -1, 4, 1, 0, .5, 1, 2};
  return h;
}

TEST(FeedbackFactor, MatchesTheUnitVector) {
  const Problem p(unit_vector_h());
  // By position, the last column first: G_ip = L_{3-p, 3-i}.
  const double l[4][4] = {{1}, {.5, 1}, {.25, -.5, 1}, {0, .2, .384615, 1}};
  const double d[] = {2, 2.5, 3.25, 1.419231};
  for (std::int64_t i = 0; i < 4; ++i) {
    EXPECT_NEAR(p.d[static_cast<std::size_t>(i)], d[3 - i], 1e-6);
    for (std::int64_t j = 0; j < 4; ++j) EXPECT_NEAR(p.g(i, j), j <= i ? l[3 - j][3 - i] : 0, 1e-6);
  }
}

// GᵀDG = H in any order; G is rounded to fp32.
TEST(FeedbackFactor, FactorsH) {
  for (const std::int64_t in : {1L, 3L, 129L, 256L, 300L}) {
    Problem p(Problem::random(in, 3));
    Random random(4);
    for (std::size_t i = p.order.size(); i > 1; --i)
      std::swap(p.order[i - 1],
                p.order[static_cast<std::size_t>(random.below(static_cast<std::int64_t>(i)))]);
    p.factor();
    for (std::int64_t i = 0; i < in; ++i)
      for (std::int64_t j = 0; j < in; ++j) {
        double sum = 0, magnitude = 0;
        for (std::int64_t m = 0; m < in; ++m) {
          const double term = static_cast<double>(p.g(m, i)) * p.d[static_cast<std::size_t>(m)] *
                              static_cast<double>(p.g(m, j));
          sum += term;
          magnitude += std::fabs(term);
        }
        ASSERT_NEAR(sum,
                    p.h(p.order[static_cast<std::size_t>(i)], p.order[static_cast<std::size_t>(j)]),
                    2 * kRoundF32 * magnitude + 1e-12);
        if (j > i) {
          ASSERT_EQ(p.g(i, j), 0.0f);
        }
      }
  }
}

TEST(FeedbackFactor, TellsWhereAMatrixIsNotPositiveDefinite) {
  Matrix<double> s(3, 3);
  s.fill(0);
  const std::vector<double> diagonal = {2, -1, 2};
  const std::vector<std::int32_t> order = {1, 0, 2};
  Matrix<float> g(3, 3);
  std::vector<double> d(3);
  EXPECT_EQ(feedback_factor(cpu_place(1), {s.view(), 1.0, diagonal, order}, g.view(), d), 0);
}

TEST(LdlqRows, MatchesTheUnitVector) {
  const Problem p(unit_vector_h());
  Matrix<float> v(1, 4);
  const float values[] = {-0.3f, 1.55f, 1.4f, 0.25f};
  std::copy(std::begin(values), std::end(values), v.data());
  LdlqColumns columns = p.columns(2);
  const Solved plain = solve(columns, v);
  EXPECT_EQ(plain.row(0), (std::vector<double>{0, 1, 1, 0}));
  EXPECT_NEAR(plain.loss(0, 0), 1.30, 1e-6);
  EXPECT_EQ(plain.loss(0, 1), plain.loss(0, 0));
  columns.greedy_passes = 1;
  const Solved greedy = solve(columns, v);
  EXPECT_EQ(greedy.row(0), (std::vector<double>{0, 1, 1, 1}));
  EXPECT_NEAR(greedy.loss(0, 0), 1.30, 1e-6);
  EXPECT_NEAR(greedy.loss(0, 1), 0.95, 1e-6);
  columns.greedy_passes = 0;
  columns.nearest = true;
  const Solved nearest = solve(columns, v);
  EXPECT_EQ(nearest.row(0), (std::vector<double>{0, 2, 1, 0}));
  EXPECT_NEAR(nearest.loss(0, 0), 2.15, 1e-6);
}

// Every code is the nearest to what fp64 makes of the codes behind it. fp32 sums of values around 1
// (errors) and a few (v) are off by about eps·√in.
TEST(LdlqRows, FollowsTheRuleAndMeasuresItsLoss) {
  for (const int bits : {2, 3, 4, 8})
    for (const std::int64_t in : {1L, 3L, 129L, 257L}) {
      const Problem p(Problem::random(in, 5));
      const LdlOracle oracle = ldl_oracle(p.h);
      const Matrix<float> v = targets(133, in, bits, 6);
      const Solved s = solve(p.columns(bits), v);
      const double slack = 1e-6 * std::sqrt(static_cast<double>(in)) * (1 << bits);
      for (std::int64_t r = 0; r < v.rows(); r += 11) {
        const std::vector<double> target = widened(v, r), q = s.row(r);
        for (std::int64_t i = 0; i < in; ++i) {
          const double z = ldlq_target(oracle, target, q, i);
          const double clamped = std::clamp(z, 0.0, static_cast<double>((1 << bits) - 1));
          ASSERT_LE(std::fabs(clamped - q[static_cast<std::size_t>(i)]), 0.5 + slack);
        }
        const double loss = proxy_oracle(p.h, target, q);
        ASSERT_NEAR(s.loss(r, 0), loss, 1e-4 * loss + 1e-9);
      }
    }
}

TEST(LdlqRows, RoundsToNearestWhereHIsDiagonal) {
  Square h(40);
  for (std::int64_t i = 0; i < 40; ++i) h(i, i) = 0.1 + static_cast<double>(i % 7);
  const Problem p(h);
  const Matrix<float> v = targets(9, 40, 3, 8);
  LdlqColumns columns = p.columns(3);
  columns.greedy_passes = 2;
  const Solved s = solve(columns, v);
  LdlqColumns without;
  without.bits = 3;
  without.order = p.order;
  const Solved bare = solve(without, v);
  for (std::int64_t r = 0; r < 9; ++r) {
    double squares = 0;
    for (std::int64_t j = 0; j < 40; ++j) {
      const double code = code_oracle(static_cast<double>(v(r, j)), 3);
      ASSERT_EQ(s.codes(r, j), code);
      ASSERT_EQ(bare.codes(r, j), code);
      squares += std::pow(static_cast<double>(v(r, j)) - code, 2);
    }
    EXPECT_NEAR(bare.loss(r, 0), squares, 1e-6 * squares);
    EXPECT_EQ(s.loss(r, 1), s.loss(r, 0));
  }
}

// On a grid without ends the expected loss is tr(D)/12, that of nearest rounding tr(H)/12 (Chee et
// al. 2023, theorem 1): errors are uniform. The mean over the rows has a standard error of at most
// tr/√rows.
TEST(LdlqRows, HasTheExpectedLoss) {
  const std::int64_t in = 24, rows = 3000;
  const Problem p(Problem::random(in, 9));
  double trace_h = 0, trace_d = 0;
  for (std::int64_t i = 0; i < in; ++i) {
    trace_h += p.h(i, i);
    trace_d += p.d[static_cast<std::size_t>(i)];
  }
  Random random(10);
  Matrix<float> v(rows, in);
  for (std::int64_t i = 0; i < v.size(); ++i)
    v.data()[i] = static_cast<float>(random.between(90, 160));
  const auto mean = [&](bool nearest) {
    LdlqColumns columns = p.columns(8);
    columns.nearest = nearest;
    const Solved s = solve(columns, v);
    double sum = 0;
    for (std::int64_t r = 0; r < rows; ++r) sum += s.loss(r, 0);
    return sum / static_cast<double>(rows);
  };
  EXPECT_NEAR(mean(false), trace_d / 12, 0.05 * trace_d / 12);
  EXPECT_NEAR(mean(true), trace_h / 12, 0.1 * trace_h / 12);
  EXPECT_LT(trace_d, 0.7 * trace_h);
}

TEST(LdlqRows, IsGptqInReverse) {
  const int bits = 3;
  const std::int64_t in = 150, rows = 70;
  const Problem p(Problem::random(in, 11));
  const Matrix<float> v = targets(rows, in, bits, 12);
  const Solved s = solve(p.columns(bits), v);
  Matrix<double> lower(in, in);
  std::vector<double> diagonal;
  for (std::int64_t i = 0; i < in; ++i) {
    for (std::int64_t j = 0; j <= i; ++j) lower(i, j) = p.h(i, j);
    diagonal.push_back(p.h(i, i));
  }
  Matrix<float> u(in, in);
  ASSERT_EQ(inverse_factor(cpu_place(2), {lower.view(), 1.0, diagonal, p.order}, u.view()), -1);
  GptqColumns columns;  // codes u stand for u itself
  columns.grid.bits = bits;
  columns.factor = u.view();
  columns.order = p.order;
  const std::vector<std::int32_t> groups(static_cast<std::size_t>(in), 0);
  columns.group_of = groups;
  Matrix<float> scales(rows, 1);
  scales.fill(1.0f);
  Matrix<std::uint8_t> zeros(rows, 1), codes(rows, in);
  zeros.fill(0);
  std::vector<double> loss(static_cast<std::size_t>(rows));
  gptq_rows(cpu_place(2), columns, v.view(), scales.view(), zeros.view(), codes.view(), loss);
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t j = 0; j < in; ++j) ASSERT_EQ(codes(r, j), s.codes(r, j)) << r << ", " << j;
    EXPECT_NEAR(2 * loss[static_cast<std::size_t>(r)], s.loss(r, 0), 1e-4 * s.loss(r, 0));
  }
}

TEST(LdlqRows, GreedyPassesOnlyGoDown) {
  for (const int bits : {2, 4}) {
    const std::int64_t in = 150, rows = 40;
    const Problem p(Problem::random(in, 13));
    const LdlOracle oracle = ldl_oracle(p.h);
    const Matrix<float> v = targets(rows, in, bits, 14);
    Solved before = solve(p.columns(bits), v);
    for (int passes = 1; passes <= 6; ++passes) {
      LdlqColumns columns = p.columns(bits);
      columns.greedy_passes = passes;
      Solved after = solve(columns, v);
      for (std::int64_t r = 0; r < rows; ++r) {
        EXPECT_LE(after.loss(r, 1), before.loss(r, 1));
        const double loss = proxy_oracle(p.h, widened(v, r), after.row(r));
        ASSERT_NEAR(after.loss(r, 1), loss, 1e-4 * after.loss(r, 0));
        std::vector<double> q = before.row(r);
        greedy_oracle(p.h, widened(v, r), bits, q);
        ASSERT_EQ(after.row(r), q) << r;
      }
      before = std::move(after);
    }
  }
}

TEST(LdlqRows, IsNeverBetterThanBruteForce) {
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    const Problem p(Problem::random(8, 20 + seed));
    const Matrix<float> v = targets(1, 8, 2, 30 + seed);
    const std::vector<double> target = widened(v, 0);
    LdlqColumns columns = p.columns(2);
    columns.greedy_passes = 5;
    const Solved s = solve(columns, v);
    double best = std::numeric_limits<double>::infinity();
    for (int code = 0; code < 1 << 16; ++code) {
      std::vector<double> q;
      for (int j = 0; j < 8; ++j) q.push_back(code >> (2 * j) & 3);
      best = std::min(best, proxy_oracle(p.h, target, q));
    }
    EXPECT_GE(s.loss(0, 1), best * (1 - 1e-5));
    EXPECT_LE(s.loss(0, 1), s.loss(0, 0));
    EXPECT_EQ(solve(p.columns(2), v).loss(0, 0), s.loss(0, 0));
  }
}

TEST(LdlqRows, DoesNotDependOnBlocksTilesOrThreads) {
  const std::int64_t in = 200, rows = 150;
  const Problem p(Problem::random(in, 15));
  const Matrix<float> v = targets(rows, in, 3, 16);
  LdlqColumns columns = p.columns(3);
  columns.greedy_passes = 3;
  const Solved whole = solve(columns, v, 1);
  const Solved threads = solve(columns, v, 2);
  EXPECT_EQ(std::memcmp(whole.codes.data(), threads.codes.data(), rows * in), 0);
  EXPECT_EQ(std::memcmp(whole.loss.data(), threads.loss.data(), 16 * rows), 0);
  for (const std::int64_t block : {1L, 7L, 64L, 1000L}) {
    columns.block = block;
    EXPECT_EQ(std::memcmp(solve(columns, v).codes.data(), whole.codes.data(), rows * in), 0)
        << block;
  }
  columns.block = 128;
  for (std::int64_t first = 0; first < rows; first += 16) {
    const std::int64_t count = std::min<std::int64_t>(16, rows - first);
    Matrix<float> part(count, in);
    std::copy_n(v.row(first), count * in, part.data());
    const Solved s = solve(columns, part);
    EXPECT_EQ(std::memcmp(s.codes.data(), whole.codes.row(first), count * in), 0);
    for (std::int64_t r = 0; r < count; ++r)  // in another place of its tile: the last bits
      EXPECT_NEAR(s.loss(r, 1), whole.loss(first + r, 1), 1e-5 * s.loss(r, 1));
  }
}

TEST(LdlqRows, ClampsTheTargetWhereAsked) {
  const Problem p(Problem::random(30, 17));
  const Matrix<float> v = targets(20, 30, 2, 18);
  Matrix<float> clamped = v.clone();
  for (std::int64_t i = 0; i < v.size(); ++i)
    clamped.data()[i] = std::clamp(clamped.data()[i], 0.0f, 3.0f);
  LdlqColumns columns = p.columns(2);
  const Solved plain = solve(columns, v);
  columns.preclamp = true;
  const Solved s = solve(columns, v);
  columns.preclamp = false;
  const Solved expected = solve(columns, clamped);
  EXPECT_EQ(std::memcmp(s.codes.data(), expected.codes.data(), 600), 0);
  EXPECT_NE(std::memcmp(s.codes.data(), plain.codes.data(), 600), 0);
}

TEST(LdlqRows, RefusesWhatDoesNotFit) {
  const Problem p(Problem::random(5, 19));
  const Matrix<float> v = targets(2, 5, 2, 18);
  const auto refuses = [&](const LdlqColumns& columns) { EXPECT_THROW(solve(columns, v), Error); };
  const LdlqColumns good = p.columns(2);
  EXPECT_NO_THROW(solve(good, v));
  LdlqColumns bad = good;
  bad.order = bad.order.first(4);
  refuses(bad);
  const std::vector<std::int32_t> outside = {0, 1, 2, 3, 5};
  bad.order = outside;
  refuses(bad);
  bad = good;
  bad.d = bad.d.first(4);
  refuses(bad);
  bad = good;
  bad.h = {};
  EXPECT_NO_THROW(solve(bad, v));
  bad.greedy_passes = 1;
  refuses(bad);
  bad = good;
  bad.delta = 0;
  refuses(bad);
  bad = good;
  bad.block = 0;
  refuses(bad);
}

}  // namespace
}  // namespace bitgrid::test
