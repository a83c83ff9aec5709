#include "kernels/vector_math.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/multiversion.hpp"
#include "tests/oracle/test_matrix.hpp"

namespace bitgrid {
namespace {
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The same code as the operations run: vectorized, with fused multiply-adds where the machine has
// them.
BITGRID_MULTIVERSION
void exp_all(const float* x, float* y, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = exp_f32(x[i]);
}

BITGRID_MULTIVERSION
float max_all(const float* x, std::int64_t n) { return max_of(x, n); }

BITGRID_MULTIVERSION
float sum_all(const float* x, std::int64_t n) { return sum_of(x, n); }

float exp_one(float x) {
  float y = 0;
  exp_all(&x, &y, 1);
  return y;
}

// Distance to the exact value in units of the last place of its fp32 neighbourhood (2^-149 among
// subnormals).
double ulps(float found, double exact) {
  const int exponent = std::max(std::ilogb(exact), -126);
  return std::fabs(static_cast<double>(found) - exact) / std::ldexp(1.0, exponent - 23);
}

// Every step-th fp32 number between two of the same sign.
void check_range(float from, float to, std::uint32_t step, double ulps_max) {
  std::vector<float> x;
  for (auto bits = std::bit_cast<std::uint32_t>(from); bits <= std::bit_cast<std::uint32_t>(to);
       bits += step)
    x.push_back(std::bit_cast<float>(bits));
  ASSERT_GT(x.size(), 10000u);
  std::vector<float> y(x.size());
  exp_all(x.data(), y.data(), static_cast<std::int64_t>(x.size()));
  double worst = 0;
  float where = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double error = ulps(y[i], std::exp(static_cast<double>(x[i])));
    if (!(error <= worst)) worst = error, where = x[i];
  }
  EXPECT_LE(worst, ulps_max) << "at " << where;
}

TEST(ExpF32, IsWithinTwoUnitsOverTheNormalRange) {
  check_range(1e-9f, 88.7228f, 1009, 2.0);
  check_range(-1e-9f, -87.3365f, 1009, 2.0);
}

TEST(ExpF32, IsWithinOneUnitAmongSubnormals) { check_range(-87.3366f, -103.97f, 101, 1.0); }

TEST(ExpF32, MapsTheEnds) {
  EXPECT_EQ(exp_one(0.0f), 1.0f);
  EXPECT_EQ(exp_one(-0.0f), 1.0f);
  EXPECT_EQ(exp_one(-kInfinity), 0.0f);
  EXPECT_EQ(exp_one(-1e30f), 0.0f);
  EXPECT_EQ(exp_one(-104.0f), 0.0f);
  EXPECT_EQ(exp_one(kInfinity), kInfinity);
  EXPECT_EQ(exp_one(88.8f), kInfinity);
  EXPECT_EQ(exp_one(1e30f), kInfinity);
  EXPECT_TRUE(std::isnan(exp_one(std::numeric_limits<float>::quiet_NaN())));
  EXPECT_TRUE(std::isnan(exp_one(-std::numeric_limits<float>::quiet_NaN())));
}

TEST(ExpF32, IsTheSameAloneAndInALongRow) {
  const Matrix<float> x = oracle::random_matrix(1, 37, 1, 20);
  float y[37];
  exp_all(x.data(), y, 37);
  for (int i = 0; i < 37; ++i) EXPECT_EQ(y[i], exp_one(x(0, i))) << i;
}

TEST(MaxOf, FindsTheLargestInAnyPlace) {
  for (const std::int64_t n : {1, 3, 15, 16, 17, 129})
    for (std::int64_t at = 0; at < n; ++at) {
      std::vector<float> x(static_cast<std::size_t>(n), -5.0f);
      x[static_cast<std::size_t>(at)] = -4.0f;
      EXPECT_EQ(max_all(x.data(), n), -4.0f) << n << " " << at;
    }
  EXPECT_EQ(max_all(nullptr, 0), -kInfinity);
}

TEST(MaxOf, PassesOverNaN) {
  std::vector<float> x(33, std::numeric_limits<float>::quiet_NaN());
  x[20] = 2.0f;
  EXPECT_EQ(max_all(x.data(), 33), 2.0f);
}

TEST(SumOf, AddsEveryElementOnce) {
  for (const std::int64_t n : {0, 1, 3, 15, 16, 17, 129, 257}) {
    const Matrix<float> x = oracle::integer_matrix(1, n, 3, 1000);
    double sum = 0;
    for (std::int64_t i = 0; i < n; ++i) sum += x(0, i);
    EXPECT_EQ(static_cast<double>(sum_all(x.data(), n)), sum) << n;
  }
}

}  // namespace
}  // namespace bitgrid
