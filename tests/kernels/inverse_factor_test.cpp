#include "kernels/inverse_factor.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <numeric>

#include "tests/oracle/linear_algebra.hpp"
#include "tests/oracle/random.hpp"
#include "tests/tolerance.hpp"

namespace bitgrid::test {
namespace {

struct Problem {
  Matrix<double> s;  // lower; NaN above, which nobody may read
  std::vector<double> diagonal;
  Square h{0};
};

// H = scale·S with 1 % of the mean added to its diagonal.
Problem damped_problem(std::int64_t in, std::uint64_t seed, double scale) {
  Random random(seed);
  const Matrix<float> x = random.activations(2 * in + 3, in);
  Problem p;
  p.s = to_lower(gram_oracle(x.view()), std::numeric_limits<double>::quiet_NaN());
  p.h = Square(in);
  double mean = 0;
  for (std::int64_t i = 0; i < in; ++i)
    mean += scale * static_cast<double>(p.s(i, i)) / static_cast<double>(in);
  for (std::int64_t i = 0; i < in; ++i) {
    for (std::int64_t j = 0; j <= i; ++j)
      p.h(i, j) = p.h(j, i) = scale * static_cast<double>(p.s(i, j));
    p.h(i, i) += 0.01 * mean;
    p.diagonal.push_back(p.h(i, i));
  }
  return p;
}

class InverseFactor : public testing::TestWithParam<std::int64_t> {};

// UᵀU·H = 1. U is rounded to fp32, so the product is off by the condition number (at most a few
// thousand here) times that.
TEST_P(InverseFactor, FactorsTheInverse) {
  const std::int64_t in = GetParam();
  const Problem p = damped_problem(in, 3, 0.125);
  std::vector<std::int32_t> order(static_cast<std::size_t>(in));
  std::iota(order.begin(), order.end(), 0);
  Random random(4);
  for (std::size_t i = order.size(); i > 1; --i)
    std::swap(order[i - 1],
              order[static_cast<std::size_t>(random.below(static_cast<std::int64_t>(i)))]);
  Matrix<float> u(in, in);
  ASSERT_EQ(inverse_factor(cpu_place(2), {p.s.view(), 0.125, p.diagonal, order}, u.view()), -1);
  double worst = 0;
  for (std::int64_t i = 0; i < in; ++i) {
    ASSERT_GT(u(i, i), 0);
    for (std::int64_t j = 0; j < i; ++j) ASSERT_EQ(u(i, j), 0.0f);
  }
  Square inverse(in);
  for (std::int64_t m = 0; m < in; ++m)
    for (std::int64_t i = m; i < in; ++i)
      for (std::int64_t j = m; j < in; ++j)
        inverse(i, j) += static_cast<double>(u(m, i)) * static_cast<double>(u(m, j));
  for (std::int64_t i = 0; i < in; ++i)
    for (std::int64_t j = 0; j < in; ++j) {
      double sum = 0;
      for (std::int64_t m = 0; m < in; ++m)
        sum += inverse(i, m) *
               p.h(order[static_cast<std::size_t>(m)], order[static_cast<std::size_t>(j)]);
      worst = std::max(worst, std::fabs(sum - (i == j ? 1 : 0)));
    }
  EXPECT_LT(worst, 1e4 * kRoundF32);
}

INSTANTIATE_TEST_SUITE_P(Sizes, InverseFactor, testing::Values(1, 2, 3, 64, 129, 256, 257, 300));

TEST(InverseFactor, MatchesTheUnitVector) {
  // X rows (1,2,0.5) (2,0,1) (0,1,−1) (1,−1,2), H = 2S/4 with 1 % damping.
  Matrix<double> s(3, 3);
  const double values[] = {6, 0, 0, 1, 6, 0, 4.5, -2, 6.25};
  std::copy(std::begin(values), std::end(values), s.data());
  const double lambda = 0.01 * (3 + 3 + 3.125) / 3;
  EXPECT_NEAR(lambda, 0.0304167, 1e-7);
  const std::vector<double> diagonal = {3 + lambda, 3 + lambda, 3.125 + lambda};
  Matrix<float> u(3, 3);
  ASSERT_EQ(inverse_factor(cpu_place(1), {s.view(), 0.5, diagonal, {}}, u.view()), -1);
  const double expected[] = {1.063746, -0.475543, -0.909221, 0, 0.607065, 0.192388, 0, 0, 0.562952};
  for (int i = 0; i < 9; ++i) EXPECT_NEAR(u.data()[i], expected[i], 1e-6) << i;
}

TEST(InverseFactor, IsTheSameBytesForAnyNumberOfThreads) {
  const Problem p = damped_problem(530, 8, 1);
  Matrix<float> one(530, 530), two(530, 530);
  ASSERT_EQ(inverse_factor(cpu_place(1), {p.s.view(), 1, p.diagonal, {}}, one.view()), -1);
  ASSERT_EQ(inverse_factor(cpu_place(2), {p.s.view(), 1, p.diagonal, {}}, two.view()), -1);
  EXPECT_EQ(
      std::memcmp(one.data(), two.data(), static_cast<std::size_t>(one.size()) * sizeof(float)), 0);
}

// The last position is the first pivot. Where the failing pivot lies in fp64 is exact for these
// matrices.
TEST(InverseFactor, TellsWhereAMatrixIsNotPositiveDefinite) {
  for (const std::int64_t in : {1, 5, 300}) {
    Matrix<double> s(in, in);
    s.fill(0);
    std::vector<double> diagonal(static_cast<std::size_t>(in), 2.0);
    const std::int64_t bad = in / 3;
    Matrix<float> u(in, in);
    for (const double value : {-1.0, 0.0, std::nan("")}) {
      diagonal[static_cast<std::size_t>(bad)] = value;
      EXPECT_EQ(inverse_factor(cpu_place(2), {s.view(), 1, diagonal, {}}, u.view()), bad) << value;
    }
  }
}

}  // namespace
}  // namespace bitgrid::test
