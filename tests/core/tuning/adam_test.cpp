#include "core/tuning/adam.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace bitgrid {
namespace {

TEST(Adam, FirstStepMovesEveryParameterByTheRateInItsUnit) {
  Adam adam({1.0, 1e-3, 100.0, 0.0});
  std::vector<double> p = {5, 5, 5, 5};
  adam.step(std::vector<double>{0.1, -3, 1e6, 7}, 0.01, p);
  EXPECT_NEAR(p[0], 5 - 0.01, 1e-12);
  EXPECT_NEAR(p[1], 5 + 1e-5, 1e-12);
  EXPECT_NEAR(p[2], 5 - 1, 1e-9);
  EXPECT_EQ(p[3], 5);  // a unit of 0 holds a parameter fast
}

TEST(Adam, FollowsTheEquations) {
  Adam adam({2.0});
  std::vector<double> p = {1};
  double expected = 1, m = 0, v = 0;
  for (int t = 1; t <= 5; ++t) {
    const double gradient = 3.0 / t - 1.2;
    adam.step(std::vector<double>{gradient}, 0.1, p);
    const double g = 2 * gradient;
    m = 0.9 * m + 0.1 * g;
    v = 0.99 * v + 0.01 * g * g;
    expected -= 0.1 * 2 * (m / (1 - std::pow(0.9, t))) / std::sqrt(v / (1 - std::pow(0.99, t)));
    EXPECT_NEAR(p[0], expected, 1e-10);
  }
}

TEST(Adam, ParametersWithoutAGradientStay) {
  Adam adam({1.0, 1.0});
  std::vector<double> p = {2, 3};
  for (int i = 0; i < 10; ++i) adam.step(std::vector<double>{0, 1}, 0.1, p);
  EXPECT_EQ(p[0], 2);
  EXPECT_LT(p[1], 2.1);
}

TEST(Adam, FindsTheMinimumOfAParabola) {
  Adam adam({1.0, 1e-3});
  std::vector<double> p = {4, 2e-3};
  for (int i = 0; i < 400; ++i)
    adam.step(std::vector<double>{2 * (p[0] - 3), 2e4 * (p[1] - 1e-3)}, cosine_rate(0.05, i, 400),
              p);
  EXPECT_NEAR(p[0], 3, 1e-3);
  EXPECT_NEAR(p[1], 1e-3, 1e-6);
}

TEST(CosineRate, FallsFromThePeakToZero) {
  EXPECT_DOUBLE_EQ(cosine_rate(0.2, 0, 10), 0.2);
  EXPECT_DOUBLE_EQ(cosine_rate(0.2, 5, 10), 0.1);
  EXPECT_NEAR(cosine_rate(0.2, 10, 10), 0, 1e-15);
  for (int i = 0; i < 10; ++i) EXPECT_GT(cosine_rate(1, i, 10), cosine_rate(1, i + 1, 10));
}

}  // namespace
}  // namespace bitgrid
