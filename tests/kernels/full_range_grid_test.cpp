#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/round_to_grid.hpp"
#include "tests/oracle/random.hpp"
#include "tests/tolerance.hpp"

// Symmetric grids whose largest weight is a code: s = max(max|w|, 1e-5)/(2^(bits−1) − 1).
namespace bitgrid::test {
namespace {

TEST(FullRangeGrid, MatchesPlainLoops) {
  for (const int bits : {2, 3, 4, 6, 8})
    for (const std::int64_t group : {1, 43, 129}) {
      const std::int64_t rows = 70, in = 129;
      Matrix<float> w = Random(static_cast<std::uint64_t>(bits)).normals(rows, in, 0.05);
      for (std::int64_t j = 0; j < in; ++j) w(4, j) = 0;
      for (std::int64_t j = 0; j < in; ++j) w(5, j) = 1e-9f;
      const UniformGrid grid{
          .bits = bits, .symmetric = true, .full_range = true, .scale_f16 = false};
      Matrix<float> scales(rows, in / group);
      Matrix<std::uint8_t> zeros(rows, in / group), codes(rows, in);
      std::vector<std::int32_t> group_of;
      for (std::int64_t j = 0; j < in; ++j)
        group_of.push_back(static_cast<std::int32_t>(j / group));
      fit_grid(cpu_place(2), grid, w.view(), group, scales.view(), zeros.view());
      round_to_grid(cpu_place(2), grid, w.view(), group_of, scales.view(), zeros.view(),
                    codes.view());
      const int qmax = (1 << (bits - 1)) - 1;
      for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t g = 0; g < in / group; ++g) {
          double largest = 1e-5;
          for (std::int64_t j = g * group; j < (g + 1) * group; ++j)
            largest = std::max(largest, std::fabs(static_cast<double>(w(r, j))));
          const double scale = largest / qmax;
          ASSERT_NEAR(scales(r, g), scale, 2 * kRoundF32 * scale);
          ASSERT_EQ(zeros(r, g), qmax + 1);
          for (std::int64_t j = g * group; j < (g + 1) * group; ++j) {
            const double exact = w(r, j) / scale;
            const int code = codes(r, j) - (qmax + 1);
            ASSERT_LE(std::abs(code), qmax);  // −2^(bits−1) is not needed
            ASSERT_LE(std::fabs(code - exact), 0.5 + 8 * kRoundF32 * (qmax + 1));
          }
        }
    }
}

// A scale that is stored in 16 bits is rounded before codes are made with it.
TEST(FullRangeGrid, ScalesCanBeHalves) {
  const Matrix<float> w = Random(3).normals(1, 16);
  const UniformGrid grid{.bits = 8, .symmetric = true, .full_range = true};
  Matrix<float> scales(1, 1);
  Matrix<std::uint8_t> zeros(1, 1);
  fit_grid(cpu_place(1), grid, w.view(), 16, scales.view(), zeros.view());
  EXPECT_EQ(scales(0, 0), f16_to_f32(f32_to_f16(scales(0, 0))));
}

// The range search may shrink the range, never widen it.
TEST(FullRangeGrid, TheRangeCanBeSearched) {
  Matrix<float> w = Random(4).normals(3, 64);
  w(1, 9) = 12;
  UniformGrid grid{.bits = 3, .symmetric = true, .full_range = true, .scale_f16 = false};
  Matrix<float> plain(3, 1), searched(3, 1);
  Matrix<std::uint8_t> zeros(3, 1);
  fit_grid(cpu_place(1), grid, w.view(), 64, plain.view(), zeros.view());
  grid.mse = true;
  fit_grid(cpu_place(1), grid, w.view(), 64, searched.view(), zeros.view());
  EXPECT_LT(searched(1, 0), 0.9f * plain(1, 0));
  for (std::int64_t r = 0; r < 3; ++r) EXPECT_LE(searched(r, 0), plain(r, 0));
}

}  // namespace
}  // namespace bitgrid::test
