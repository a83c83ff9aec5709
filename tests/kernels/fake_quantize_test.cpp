#include "kernels/fake_quantize.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/error.hpp"
#include "kernels/scale_columns.hpp"
#include "tests/oracle/random.hpp"
#include "tests/tolerance.hpp"

namespace bitgrid::test {
namespace {

struct Range {
  double lo = 0, hi = 0;
};

Range range_oracle(MatrixView<const float> x) {
  Range range{x(0, 0), x(0, 0)};
  for (std::int64_t t = 0; t < x.rows; ++t)
    for (std::int64_t j = 0; j < x.cols; ++j) {
      range.lo = std::min<double>(range.lo, x(t, j));
      range.hi = std::max<double>(range.hi, x(t, j));
    }
  return range;
}

struct Value {
  double value = 0;
  double step = 0;
  bool tie = false;  // so near the middle of two codes that rounding in fp32 may take the other one
};

Value value_oracle(const ActivationGrid& grid, Range range, double v) {
  const double qmax = std::pow(2.0, grid.bits - 1) - 1, maxq = std::pow(2.0, grid.bits) - 1;
  double scale = grid.scale, zero = 0, first = -qmax, last = qmax;
  if (grid.range != RangeOf::fixed && grid.symmetric)
    scale = std::max({range.hi, -range.lo, 1e-5}) / qmax;
  if (!grid.symmetric) {
    scale = std::min(std::max((range.hi - range.lo) / maxq, 1e-5), 1e4);
    zero = std::nearbyint(-range.lo / scale);
    first = 0;
    last = maxq;
  }
  const double exact = v / scale;
  const double code = std::min(std::max(std::nearbyint(exact) + zero, first), last);
  const double off_middle = std::fabs(std::fabs(exact - std::nearbyint(exact)) - 0.5);
  return {scale * (code - zero), scale, off_middle < 8 * kRoundF32 * (std::fabs(exact) + 1)};
}

TEST(FakeQuantize, MatchesPlainLoops) {
  std::int64_t compared = 0, ties = 0;
  for (const int bits : {2, 4, 6, 8, 13})
    for (const bool symmetric : {true, false})
      for (const RangeOf source : {RangeOf::token, RangeOf::tensor, RangeOf::fixed})
        for (const std::int64_t in : {1, 3, 16, 129, 257}) {
          if (source == RangeOf::fixed && !symmetric) continue;
          const ActivationGrid grid{bits, symmetric, source, source == RangeOf::fixed ? 0.07f : 0};
          const Matrix<float> x = Random(static_cast<std::uint64_t>(bits)).normals(67, in, 2);
          Matrix<float> y = x.clone();
          fake_quantize(cpu_place(2), grid, y.view());
          for (std::int64_t t = 0; t < x.rows(); ++t) {
            const Range range =
                range_oracle(source == RangeOf::token ? x.rows_from(t, 1) : x.view());
            for (std::int64_t j = 0; j < in; ++j) {
              const Value expected = value_oracle(grid, range, x(t, j));
              ++compared;
              if (expected.tie) {
                ++ties;
                ASSERT_LE(std::fabs(y(t, j) - expected.value), expected.step * 1.001);
                continue;
              }
              ASSERT_NEAR(y(t, j), expected.value, 4 * kRoundF32 * std::fabs(expected.value))
                  << bits << " bits, row " << t << ", column " << j << " of " << in;
            }
          }
        }
  EXPECT_LT(ties, compared / 100);
}

TEST(FakeQuantize, TakesTiesToEvenAndSaturates) {
  // fixed, scale 1, 3 bits: −3 … 3
  Matrix<float> x(1, 8);
  const float values[] = {0.5f, 1.5f, 2.5f, -0.5f, -1.5f, 3.4f, 100.0f, -7.0f};
  std::copy(values, values + 8, x.data());
  fake_quantize(cpu_place(1), {3, true, RangeOf::fixed, 1.0f}, x.view());
  const std::vector<float> expected = {0, 2, 2, 0, -2, 3, 3, -3};
  EXPECT_EQ(std::vector<float>(x.data(), x.data() + 8), expected);
}

TEST(FakeQuantize, LeavesXAloneAtSixteenBits) {
  Matrix<float> x = Random(1).normals(3, 5);
  const Matrix<float> before = x.clone();
  fake_quantize(cpu_place(1), {}, x.view());
  EXPECT_TRUE(std::equal(x.data(), x.data() + x.size(), before.data()));
}

TEST(FakeQuantize, IsTheSameForAnyThreadsAndTwice) {
  for (const bool symmetric : {true, false})
    for (const RangeOf source : {RangeOf::token, RangeOf::tensor}) {
      const ActivationGrid grid{4, symmetric, source, 0};
      Matrix<float> one = Random(7).normals(150, 129), two = one.clone();
      fake_quantize(cpu_place(1), grid, one.view());
      fake_quantize(cpu_place(2), grid, two.view());
      ASSERT_TRUE(std::equal(one.data(), one.data() + one.size(), two.data()));
      if (!symmetric) continue;
      fake_quantize(cpu_place(1), grid, two.view());  // its largest value is a code: the same grid
      for (std::int64_t i = 0; i < one.size(); ++i)
        ASSERT_NEAR(one.data()[i], two.data()[i], 4 * kRoundF32 * std::fabs(one.data()[i]));
    }
}

TEST(FakeQuantize, ZerosStayZerosAndNothingIsDividedByZero) {
  for (const bool symmetric : {true, false}) {
    Matrix<float> x(2, 19);
    x.fill(0);
    x(1, 3) = 1e-30f;
    fake_quantize(cpu_place(1), {8, symmetric, RangeOf::token, 0}, x.view());
    for (std::int64_t i = 0; i < x.size(); ++i) ASSERT_EQ(x.data()[i], 0.0f);
  }
}

// A NaN or an infinity must reach the check behind the tap, whatever the grid.
TEST(FakeQuantize, KeepsWhatIsNotFinite) {
  const float inf = std::numeric_limits<float>::infinity();
  for (const float bad : {inf, -inf, std::nanf("")})
    for (const bool symmetric : {true, false})
      for (const RangeOf source : {RangeOf::token, RangeOf::tensor, RangeOf::fixed}) {
        if (source == RangeOf::fixed && !symmetric) continue;
        for (const std::int64_t at : {0, 16, 33}) {
          Matrix<float> x = Random(2).normals(3, 34);
          x(1, at) = bad;
          fake_quantize(cpu_place(1), {8, symmetric, source, 0.5f}, x.view());
          ASSERT_FALSE(std::isfinite(x(1, at))) << bad << " at " << at;
        }
      }
}

TEST(FakeQuantize, RefusesGridsThatAreNone) {
  Matrix<float> x(1, 2);
  x.fill(1);
  const Place place = cpu_place(1);
  EXPECT_THROW(fake_quantize(place, {1, true, RangeOf::token, 0}, x.view()), Error);
  EXPECT_THROW(fake_quantize(place, {8, true, RangeOf::fixed, 0}, x.view()), Error);
  EXPECT_THROW(fake_quantize(place, {8, true, RangeOf::fixed, std::nanf("")}, x.view()), Error);
  EXPECT_THROW(fake_quantize(place, {8, false, RangeOf::fixed, 1}, x.view()), Error);
  Matrix<float> none;
  EXPECT_NO_THROW(fake_quantize(place, {8, true, RangeOf::token, 0}, none.view()));
}

TEST(ScaleColumns, MatchPlainLoops) {
  for (const std::int64_t in : {1, 3, 129, 1025, 2100})
    for (const int threads : {1, 2}) {
      const Place place = cpu_place(threads);
      Matrix<float> w = Random(5).normals(77, in);
      std::vector<float> largest(static_cast<std::size_t>(in), 1.5f);
      column_maxima(place, w.view(), largest);
      for (std::int64_t j = 0; j < in; ++j) {
        float expected = 1.5f;
        for (std::int64_t r = 0; r < 77; ++r) expected = std::max(expected, std::fabs(w(r, j)));
        ASSERT_EQ(largest[static_cast<std::size_t>(j)], expected);
      }
      const Matrix<float> before = w.clone();
      scale_columns(place, largest, w.view());
      for (std::int64_t r = 0; r < 77; ++r)
        for (std::int64_t j = 0; j < in; ++j)
          ASSERT_EQ(w(r, j), before(r, j) * largest[static_cast<std::size_t>(j)]);
      std::vector<float> wrong(static_cast<std::size_t>(in) + 1);
      EXPECT_THROW(scale_columns(place, wrong, w.view()), Error);
      EXPECT_THROW(column_maxima(place, w.view(), wrong), Error);
    }
}

}  // namespace
}  // namespace bitgrid::test
