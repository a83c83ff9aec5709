#include "kernels/fdb_rows.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "kernels/dtype.hpp"
#include "kernels/error.hpp"
#include "kernels/fdb_joint_scales.hpp"
#include "tests/oracle/random.hpp"
#include "tests/oracle/toy_layer.hpp"

namespace bitgrid::test {
namespace {

using testing::ElementsAre;

struct Solution {
  Matrix<float> a1, a2, q;
  Matrix<std::uint8_t> codes;
  std::vector<double> loss;
  double total() const { return std::accumulate(loss.begin(), loss.end(), 0.0); }
};

void set_values(Solution& s, std::int64_t group) {
  for (std::int64_t r = 0; r < s.q.rows(); ++r)
    for (std::int64_t j = 0; j < s.q.cols(); ++j) {
      const double a1 = s.a1(r, j / group), a2 = s.a2(r, j / group);
      const int b1 = s.codes(r, j) / 2, b2 = s.codes(r, j) % 2;
      s.q(r, j) = static_cast<float>(a1 * b1 + a2 * b2);
    }
}

Solution solve(const FdbColumns& c, MatrixView<const float> w, int threads = 1) {
  const std::int64_t groups = w.cols / c.group;
  Solution s{Matrix<float>(w.rows, groups), Matrix<float>(w.rows, groups),
             Matrix<float>(w.rows, w.cols), Matrix<std::uint8_t>(w.rows, w.cols),
             std::vector<double>(static_cast<std::size_t>(w.rows))};
  fdb_rows(cpu_place(threads), c, w, s.a1.view(), s.a2.view(), s.codes.view(), s.loss);
  set_values(s, c.group);
  return s;
}

FdbColumns plain(std::int64_t group, int steps = 20, bool f16 = false) {
  FdbColumns c;
  c.group = group;
  c.scale_steps = steps;
  c.scale_f16 = f16;
  return c;
}

std::vector<int> row_codes(const Solution& s, std::int64_t r) {
  return {s.codes.row(r), s.codes.row(r) + s.codes.cols()};
}

void expect_scales(const Matrix<float>& a, const std::vector<double>& expected) {
  for (std::size_t i = 0; i < expected.size(); ++i)
    EXPECT_NEAR(static_cast<double>(a.data()[i]), expected[i], 6e-7) << i;
}

TEST(FdbRows, MatchesTheUnitVector) {
  const ToyLayer toy;
  const std::vector<float> energy = toy.energy();
  FdbColumns c = plain(8);
  c.weights = energy;
  c.factor = toy.u.view();
  Solution s = solve(c, toy.w.view());
  expect_scales(s.a1, {.976900, .744070, -.793334, .913021, -.758187, -.900968});
  expect_scales(s.a2, {-.748192, -.460769, .700224, -.608765, .600878, .773165});
  EXPECT_THAT(row_codes(s, 0), ElementsAre(1, 0, 3, 0, 1, 2, 2, 1, 0, 2, 0, 1, 1, 1, 0, 2));
  EXPECT_THAT(row_codes(s, 1), ElementsAre(2, 0, 3, 2, 2, 3, 1, 0, 0, 3, 1, 3, 3, 3, 2, 0));
  EXPECT_NEAR(s.total(), 11.780670, 2e-5);
  EXPECT_NEAR(toy.loss(s.q.view()), 11.780670, 2e-5);

  FdbObjective objective{toy.gram.view(), 1, toy.damping, 8, false};
  fdb_joint_scales(cpu_place(1), objective, toy.w.view(), s.codes.view(), s.a1.view(), s.a2.view(),
                   s.loss);
  set_values(s, 8);
  EXPECT_NEAR(s.total(), 10.566767, 2e-5);
  EXPECT_NEAR(toy.loss(s.q.view()), 10.566767, 2e-5);
  EXPECT_NEAR(s.a1(0, 0), 1.064957, 2e-6);
  EXPECT_NEAR(s.a1(0, 1), .736311, 2e-6);
  EXPECT_NEAR(s.a2(0, 0), -.741843, 2e-6);
  EXPECT_NEAR(s.a2(0, 1), -.471084, 2e-6);

  c.factor = {};
  EXPECT_NEAR(toy.loss(solve(c, toy.w.view()).q.view()), 11.986134, 2e-5);
  c.factor = toy.u.view();
  c.scale_steps = 0;
  EXPECT_NEAR(solve(c, toy.w.view()).total(), 30.388675, 5e-5);
  c = plain(8);
  s = solve(c, toy.w.view());
  expect_scales(s.a1, {1.050182, .794000, -.917000, 1.012286, -.782588, -.970909});
  EXPECT_NEAR(toy.loss(s.q.view()), 24.581984, 5e-5);
}

// The threshold form of the coding, for levels in order.
int threshold_code(float w, float a1, float a2) {
  const bool mirrored = a1 < 0;
  const auto reaches = [&](float v, float t) { return mirrored ? v <= t : v >= t; };
  const int b1 = reaches(w, (a1 + a2) / 2);
  const int b2 = reaches(a1 * static_cast<float>(b1) + a2 / 2, w);
  return 2 * b1 + b2;
}

TEST(FdbRows, CodesByTheThresholdsTiesIncluded) {
  // Multiples of 1/8 around levels of multiples of 1/4: everything is exact, and many are ties.
  Matrix<float> w(1, 65);
  for (std::int64_t j = 0; j < 65; ++j) w(0, j) = static_cast<float>(j - 32) / 8;
  for (const float a1 : {1.0f, 2.0f, -1.5f, -3.0f})
    for (const float ratio : {-0.25f, -0.5f, -0.75f}) {
      FdbColumns c = plain(65);
      c.fit = false;
      Matrix<float> s1(1, 1), s2(1, 1);
      Matrix<std::uint8_t> codes(1, 65);
      std::vector<double> loss(1);
      s1(0, 0) = a1;
      s2(0, 0) = a1 * ratio;
      fdb_rows(cpu_place(1), c, w.view(), s1.view(), s2.view(), codes.view(), loss);
      for (std::int64_t j = 0; j < 65; ++j)
        EXPECT_EQ(codes(0, j), threshold_code(w(0, j), a1, a1 * ratio))
            << a1 << " " << ratio << " " << w(0, j);
    }
}

TEST(FdbRows, StartsAsRoundToNearest) {
  const Matrix<float> w = Random(5).normals(67, 24, 0.1);
  FdbColumns c = plain(8, 0);
  c.start = FdbStart::absmax;
  const Solution s = solve(c, w.view());
  for (std::int64_t r = 0; r < 67; ++r)
    for (std::int64_t j = 0; j < 24; ++j) {
      double top = 0;
      for (std::int64_t i = j / 8 * 8; i < j / 8 * 8 + 8; ++i)
        top = std::max(top, std::fabs(static_cast<double>(w(r, i))));
      const double step = top / 2;
      const double nearest =
          step * std::clamp(std::nearbyint(static_cast<double>(w(r, j)) / step), -1.0, 2.0);
      EXPECT_NEAR(static_cast<double>(s.q(r, j)), nearest, 1e-7);
    }
}

// Σ h·(w − q)² of one group by the book: every start, every level.
double search_oracle(const float* w, const float* h, std::int64_t n) {
  double top = 0, best = HUGE_VAL;
  for (std::int64_t j = 0; j < n; ++j) top = std::max(top, std::fabs(static_cast<double>(w[j])));
  for (int i = 0; i <= 40; ++i)
    for (const double sign : {1.0, -1.0}) {
      const double s = sign * (0.2 + 0.02 * i) * top / 2;
      double sum = 0;
      for (std::int64_t j = 0; j < n; ++j) {
        double nearest = HUGE_VAL;
        for (const double level : {-s, 0.0, s, 2 * s})
          nearest = std::min(nearest, std::fabs(static_cast<double>(w[j]) - level));
        sum += static_cast<double>(h[j]) * nearest * nearest;
      }
      best = std::min(best, sum);
    }
  return best;
}

double weighted_error(const Solution& s, MatrixView<const float> w, std::span<const float> h) {
  double sum = 0;
  for (std::int64_t r = 0; r < w.rows; ++r)
    for (std::int64_t j = 0; j < w.cols; ++j) {
      const double off = static_cast<double>(w(r, j)) - static_cast<double>(s.q(r, j));
      sum += static_cast<double>(h[static_cast<std::size_t>(j)]) * off * off;
    }
  return sum;
}

TEST(FdbRows, FindsTheBestStartAndOnlyImprovesFromThere) {
  for (const std::int64_t group : {1L, 3L, 43L, 129L, 257L}) {
    const std::int64_t in = group < 43 ? 6 * group : group;
    const Matrix<float> w = Random(static_cast<std::uint64_t>(group)).normals(5, in, 0.1);
    std::vector<float> h;
    Random random(9);
    for (std::int64_t j = 0; j < in; ++j)
      h.push_back(static_cast<float>(std::exp(4 * random.normal())));
    FdbColumns c = plain(group, 0);
    c.weights = h;
    double expected = 0;
    for (std::int64_t r = 0; r < 5; ++r)
      for (std::int64_t g = 0; g < in / group; ++g)
        expected += search_oracle(w.row(r) + g * group, h.data() + g * group, group);
    double error = weighted_error(solve(c, w.view()), w.view(), h);
    EXPECT_NEAR(error, expected, 1e-5 * expected + 1e-12) << group;
    for (c.scale_steps = 1; c.scale_steps <= 20; ++c.scale_steps) {
      const double next = weighted_error(solve(c, w.view()), w.view(), h);
      EXPECT_LE(next, error * (1 + 1e-5)) << group << " step " << c.scale_steps;
      error = next;
    }
  }
}

TEST(FdbRows, RecoversFourLevels) {
  Matrix<float> w(3, 16);
  const float ratio[] = {-0.4f, -0.55f, -0.7f};
  for (std::int64_t r = 0; r < 3; ++r)
    for (std::int64_t j = 0; j < 16; ++j)
      w(r, j) = fdb_value(static_cast<std::uint8_t>(j % 4), r == 1 ? -2.0f : 1.5f,
                          (r == 1 ? -2.0f : 1.5f) * ratio[r]);
  const Solution s = solve(plain(16), w.view());
  for (std::int64_t i = 0; i < w.size(); ++i) EXPECT_NEAR(s.q.data()[i], w.data()[i], 1e-6);
}

TEST(FdbRows, WithoutFeedbackIsAnIdentityFactor) {
  const Matrix<float> w = Random(6).normals(130, 48, 0.1);
  Matrix<float> identity(48, 48);
  identity.fill(0);
  for (std::int64_t i = 0; i < 48; ++i) identity(i, i) = 1;
  for (const std::int64_t group : {8L, 48L}) {
    FdbColumns c = plain(group, 20, true);
    const Solution s = solve(c, w.view());
    c.factor = identity.view();
    const Solution t = solve(c, w.view());
    EXPECT_TRUE(std::equal(s.codes.data(), s.codes.data() + s.codes.size(), t.codes.data()));
    EXPECT_EQ(s.loss, t.loss);
  }
}

// Blocks of whole groups, of one group, and groups of many blocks.
TEST(FdbRows, LossIsTheObjectiveAndRowsAreAlone) {
  for (const std::int64_t group : {20L, 130L, 260L}) {
    const std::int64_t in = 260;
    const Matrix<float> x = Random(7).activations(2 * in, in);
    Square h = gram_oracle(x.view());
    Matrix<double> s(in, in);
    std::vector<double> diagonal;
    for (std::int64_t i = 0; i < in; ++i) {
      for (std::int64_t j = 0; j < in; ++j) s(i, j) = h(i, j);
      h(i, i) *= 1.01;
      diagonal.push_back(h(i, i));
    }
    Matrix<float> u(in, in);
    ASSERT_EQ(inverse_factor(cpu_place(1), {s.view(), 1, diagonal, {}}, u.view()), -1);
    FdbColumns c = plain(group, 20, true);
    c.factor = u.view();
    const Matrix<float> w = Random(8).normals(133, in, 0.1);
    const Solution found = solve(c, w.view());
    for (const std::int64_t r : {0L, 132L}) {
      std::vector<double> off;
      for (std::int64_t j = 0; j < in; ++j)
        off.push_back(static_cast<double>(w(r, j)) - static_cast<double>(found.q(r, j)));
      const double expected = 0.5 * quadratic_oracle(h, off);
      EXPECT_NEAR(found.loss[static_cast<std::size_t>(r)], expected, 2e-4 * expected);
    }
    for (std::int64_t i = 0; i < found.a1.size(); ++i)
      EXPECT_EQ(found.a1.data()[i], f16_to_f32(f32_to_f16(found.a1.data()[i])));
    const Solution two = solve(c, w.view(), 2);
    EXPECT_EQ(found.loss, two.loss);
    EXPECT_TRUE(
        std::equal(found.codes.data(), found.codes.data() + found.codes.size(), two.codes.data()));
    const Solution last = solve(c, w.rows_from(128, 5));
    EXPECT_TRUE(
        std::equal(last.codes.data(), last.codes.data() + last.codes.size(), found.codes.row(128)));
  }
}

TEST(FdbRows, ServesGroupsOfZerosAndOfOneValue) {
  Matrix<float> w(3, 8);
  w.fill(0);
  for (std::int64_t j = 0; j < 4; ++j) {
    w(1, j) = 0.3f;
    w(1, j + 4) = -0.7f;
  }
  w(2, 1) = 1e-9f;
  w(2, 6) = -5.0f;
  for (const FdbStart start : {FdbStart::search, FdbStart::absmax, FdbStart::range}) {
    FdbColumns c = plain(4);
    c.start = start;
    const Solution s = solve(c, w.view());
    EXPECT_THAT(row_codes(s, 0), testing::Each(0));
    for (std::int64_t r = 0; r < (start == FdbStart::search ? 3 : 2); ++r)
      for (std::int64_t j = 0; j < 8; ++j)
        EXPECT_NEAR(s.q(r, j), w(r, j), 1e-9) << static_cast<int>(start) << r << j;
    EXPECT_EQ(s.a1(0, 0), 0.0f);
  }
  // Columns without weight are coded all the same; a group of them counts as all alike.
  const std::vector<float> h = {0, 1, 1, 0, 0, 0, 0, 0};
  FdbColumns c = plain(4);
  const Solution alike = solve(c, w.view());
  c.weights = h;
  const Solution s = solve(c, w.view());
  EXPECT_EQ(s.a1(2, 1), alike.a1(2, 1));
  EXPECT_NEAR(s.q(1, 0), 0.3, 1e-7);
}

TEST(FdbJointScales, LeaveNoGradient) {
  const std::int64_t in = 96, rows = 37, group = 12;
  const Matrix<float> x = Random(3).activations(2 * in, in);
  const Square gram = gram_oracle(x.view());
  const Matrix<float> lower = narrowed(to_lower(gram));
  const Matrix<float> w = Random(4).normals(rows, in, 0.1);
  Solution s = solve(plain(group), w.view());
  const double damping = 0.5;
  const FdbObjective objective{lower.view(), 0.25, damping, group, false};
  std::vector<double> before(rows);
  fdb_row_losses(cpu_place(1), objective, w.view(), s.a1.view(), s.a2.view(), s.codes.view(),
                 before);
  fdb_joint_scales(cpu_place(2), objective, w.view(), s.codes.view(), s.a1.view(), s.a2.view(),
                   s.loss);
  set_values(s, group);
  Square h = gram;
  for (std::int64_t i = 0; i < in; ++i)
    for (std::int64_t j = 0; j < in; ++j) h(i, j) = 0.25 * gram(i, j) + (i == j ? damping : 0);
  for (std::int64_t r = 0; r < rows; ++r) {
    std::vector<double> off;
    for (std::int64_t j = 0; j < in; ++j)
      off.push_back(static_cast<double>(w(r, j)) - static_cast<double>(s.q(r, j)));
    const double loss = 0.5 * quadratic_oracle(h, off);
    EXPECT_NEAR(s.loss[static_cast<std::size_t>(r)], loss, 1e-5 * loss);
    EXPECT_LT(loss, before[static_cast<std::size_t>(r)] * (1 + 1e-6));
    for (std::int64_t g = 0; g < in / group; ++g)
      for (const int plane : {2, 1}) {
        double gradient = 0, size = 0;
        for (std::int64_t j = g * group; j < (g + 1) * group; ++j) {
          if ((s.codes(r, j) & plane) == 0) continue;
          for (std::int64_t i = 0; i < in; ++i) {
            gradient += h(j, i) * off[static_cast<std::size_t>(i)];
            size += std::fabs(h(j, i) * static_cast<double>(w(r, i)));
          }
        }
        // Scales and products are fp32.
        EXPECT_LT(std::fabs(gradient), 2e-6 * size) << r << " " << g << " " << plane;
      }
  }
}

TEST(FdbJointScales, KeepScalesThatRoundingCannotImprove) {
  const ToyLayer toy;
  Solution s = solve(plain(8, 20, true), toy.w.view());
  const FdbObjective objective{toy.gram.view(), 1, toy.damping, 8, true};
  for (int round = 0; round < 3; ++round) {
    std::vector<double> before(3);
    fdb_row_losses(cpu_place(1), objective, toy.w.view(), s.a1.view(), s.a2.view(), s.codes.view(),
                   before);
    fdb_joint_scales(cpu_place(1), objective, toy.w.view(), s.codes.view(), s.a1.view(),
                     s.a2.view(), s.loss);
    for (std::size_t r = 0; r < 3; ++r) {
      if (round == 0) {
        EXPECT_LT(s.loss[r], before[r]);
      } else {
        EXPECT_EQ(s.loss[r], before[r]);
      }
    }
    for (std::int64_t i = 0; i < s.a1.size(); ++i)
      EXPECT_EQ(s.a1.data()[i], f16_to_f32(f32_to_f16(s.a1.data()[i])));
  }
}

TEST(FdbRows, RefusesShapesThatDoNotFit) {
  const Matrix<float> w = Random(1).normals(2, 8);
  EXPECT_THROW(solve(plain(3), w.view()), Error);
  FdbColumns c = plain(4);
  const std::vector<float> h(7);
  c.weights = h;
  EXPECT_THROW(solve(c, w.view()), Error);
  c = plain(4);
  const Matrix<float> u(8, 7);
  c.factor = u.view();
  EXPECT_THROW(solve(c, w.view()), Error);
}

}  // namespace
}  // namespace bitgrid::test
