#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "kernels/error.hpp"
#include "kernels/round_to_grid.hpp"
#include "tests/oracle/quantization.hpp"
#include "tests/oracle/random.hpp"

namespace bitgrid::test {
namespace {

struct Fitted {
  Matrix<float> scales;
  Matrix<std::uint8_t> zeros, codes;
  Matrix<float> value;
};

std::vector<std::int32_t> groups_of(std::int64_t in, std::int64_t group) {
  std::vector<std::int32_t> groups;
  for (std::int64_t j = 0; j < in; ++j) groups.push_back(static_cast<std::int32_t>(j / group));
  return groups;
}

Fitted fit(const UniformGrid& grid, MatrixView<const float> w, std::int64_t group,
           int threads = 1) {
  const Place place = cpu_place(threads);
  const std::int64_t groups = w.cols / group;
  Fitted f{Matrix<float>(w.rows, groups), Matrix<std::uint8_t>(w.rows, groups),
           Matrix<std::uint8_t>(w.rows, w.cols), Matrix<float>(w.rows, w.cols)};
  fit_grid(place, grid, w, group, f.scales.view(), f.zeros.view());
  const auto index = groups_of(w.cols, group);
  round_to_grid(place, grid, w, index, f.scales.view(), f.zeros.view(), f.codes.view());
  dequantize(place, f.codes.view(), index, f.scales.view(), f.zeros.view(), f.value.view());
  return f;
}

std::vector<int> codes_of(const Fitted& f) {
  return {f.codes.data(), f.codes.data() + f.codes.size()};
}

std::vector<float> kVector = {-0.60f, -0.10f, 0.00f, 0.25f, 0.50f, 0.80f, 1.20f, -0.35f};

TEST(Grid, MatchesTheUnitVector) {
  const MatrixView<const float> w(kVector.data(), 1, 8);
  for (const bool f16 : {false, true}) {
    const Fitted asymmetric = fit({.scale_f16 = f16}, w, 8);
    EXPECT_FLOAT_EQ(asymmetric.scales(0, 0), f16 ? 0.1199951f : 0.12f);
    EXPECT_EQ(asymmetric.zeros(0, 0), 5);
    EXPECT_EQ(codes_of(asymmetric), (std::vector<int>{0, 4, 5, 7, 9, 12, 15, 2}));
    const Fitted symmetric = fit({.symmetric = true, .scale_f16 = f16}, w, 8);
    EXPECT_FLOAT_EQ(symmetric.scales(0, 0), f16 ? 0.1600342f : 0.16f);
    EXPECT_EQ(symmetric.zeros(0, 0), 8);
    // 1.20/0.16 is a tie in real numbers; in fp32 it lies within a rounding of it, and 15 is the
    // end of the grid.
    EXPECT_EQ(codes_of(symmetric), (std::vector<int>{4, 7, 8, 10, 11, 13, 15, 6}));
  }
}

TEST(Grid, RoundsTiesToEvenAndByTrueDivision) {
  // lo = −1, hi = 14: s = 1, z = 1.
  const std::vector<float> w = {-1, 14, 0.5f, 1.5f, 2.5f, -0.5f, 3.5f, 0};
  const Fitted f = fit({}, {w.data(), 1, 8}, 8);
  EXPECT_EQ(f.scales(0, 0), 1.0f);
  EXPECT_EQ(codes_of(f), (std::vector<int>{0, 15, 1, 3, 3, 1, 5, 1}));
  // 10.5 · (1/3) rounds up across the tie that 10.5/3 = 3.5 hits exactly.
  const std::vector<float> ties = {45, 0, 10.5f, 7.5f};
  const Fitted t = fit({}, {ties.data(), 1, 4}, 4);
  EXPECT_EQ(t.scales(0, 0), 3.0f);
  EXPECT_EQ(codes_of(t), (std::vector<int>{15, 0, 4, 2}));
}

TEST(Grid, KeepsZeroExact) {
  const std::vector<float> w = {0, 0, 0, 0, 3, 1, 2, 0, -3, -1, -2, 0};
  for (const bool symmetric : {false, true}) {
    const Fitted f = fit({.bits = 3, .symmetric = symmetric}, {w.data(), 1, 12}, 4);
    for (int j = 0; j < 4; ++j) {  // the group of zeros
      EXPECT_EQ(f.value(0, j), 0.0f);
      EXPECT_EQ(f.codes(0, j), f.zeros(0, 0));
    }
    EXPECT_FLOAT_EQ(f.scales(0, 0), f16_to_f32(f32_to_f16(2.0f / 7)));
    EXPECT_EQ(f.value(0, 7), 0.0f);
    EXPECT_EQ(f.value(0, 11), 0.0f);
    // One-sided groups reach their far end, which mirrored-only-if-negative grids do not.
    EXPECT_NEAR(f.value(0, 4), 3, symmetric ? 0.45 : 0.01);
    EXPECT_NEAR(f.value(0, 8), -3, symmetric ? 0.45 : 0.01);
  }
}

TEST(Grid, GivesTinyAndHugeScalesTheirStoredValue) {
  const std::vector<float> tiny = {1e-9f, -1e-9f, 0, 5e-10f};
  const Fitted t = fit({}, {tiny.data(), 1, 4}, 4);
  EXPECT_EQ(t.scales(0, 0), kF16SmallestNormal);
  for (int j = 0; j < 4; ++j) EXPECT_EQ(t.value(0, j), 0.0f);
  // A scale that is a subnormal fp16 is kept as it is: 6e-6/15 lies between 2^-24 and 2^-14.
  const std::vector<float> small = {6e-6f, 0, 3e-6f, 1e-6f};
  EXPECT_FLOAT_EQ(fit({}, {small.data(), 1, 4}, 4).scales(0, 0),
                  static_cast<float>(round_f16_oracle(6e-6f / 15.0)));
  const std::vector<float> huge = {3e6f, 0, 1, 2};
  EXPECT_TRUE(std::isinf(fit({}, {huge.data(), 1, 4}, 4).scales(0, 0)));
}

struct Case {
  int bits;
  bool symmetric;
  std::int64_t rows, in, group;
};
class GridOracleTest : public testing::TestWithParam<Case> {};

TEST_P(GridOracleTest, MatchesTheFormulas) {
  const Case c = GetParam();
  Random random(static_cast<std::uint64_t>(c.bits * 100 + c.symmetric));
  Matrix<float> w = random.normals(c.rows, c.in, 0.02);
  w(0, 0) = 1.5f;                                                // an outlier
  for (std::int64_t j = 0; j < c.in; ++j) w(c.rows - 1, j) = 0;  // a row of zeros
  const Fitted f = fit({.bits = c.bits, .symmetric = c.symmetric}, w.view(), c.group, 2);
  const GridOracle oracle{c.bits, c.symmetric, true};
  for (std::int64_t r = 0; r < c.rows; ++r)
    for (std::int64_t g = 0; g < c.in / c.group; ++g) {
      std::vector<double> group;
      for (std::int64_t j = 0; j < c.group; ++j) group.push_back(w(r, g * c.group + j));
      // fp32 and fp64 may lie on the two sides of a rounding boundary of fp16.
      const ScaleZero expected = grid_oracle(oracle, group);
      ASSERT_NEAR(f.scales(r, g), expected.scale, 2 * 0x1p-11 * expected.scale);
      const ScaleZero used{f.scales(r, g), static_cast<double>(f.zeros(r, g))};
      for (std::int64_t j = 0; j < c.group; ++j) {
        const double v = group[static_cast<std::size_t>(j)];
        const int code = f.codes(r, g * c.group + j);
        ASSERT_LE(code, oracle.maxq());
        const double exact = clamp_oracle(v / used.scale, -used.zero, oracle.maxq() - used.zero);
        ASSERT_NEAR(exact, code - used.zero, 0.5 + 1e-4);
        ASSERT_EQ(f.value(r, g * c.group + j),
                  f.scales(r, g) * static_cast<float>(code - f.zeros(r, g)));
      }
    }
}

INSTANTIATE_TEST_SUITE_P(Cases, GridOracleTest,
                         testing::Values(Case{2, false, 3, 8, 4}, Case{3, true, 5, 129, 43},
                                         Case{4, false, 65, 256, 128}, Case{4, true, 64, 64, 64},
                                         Case{5, false, 130, 257, 257}, Case{6, true, 1, 1, 1},
                                         Case{7, false, 2, 30, 3}, Case{8, true, 63, 96, 32},
                                         Case{8, false, 67, 96, 32}));

// The search must find a range whose error is as small as that of the best of all eighty, up to
// fp32 rounding.
TEST(Grid, SearchesTheRange) {
  for (const bool symmetric : {false, true}) {
    for (const int bits : {2, 3, 4}) {
      Random random(static_cast<std::uint64_t>(bits));
      const Matrix<float> w = random.normals(70, 32, 0.05);
      const Fitted f = fit({.bits = bits, .symmetric = symmetric, .mse = true}, w.view(), 16);
      const GridOracle oracle{bits, symmetric, true};
      int shrunk = 0;
      for (std::int64_t r = 0; r < w.rows(); ++r)
        for (std::int64_t g = 0; g < 2; ++g) {
          std::vector<double> group;
          for (std::int64_t j = 0; j < 16; ++j) group.push_back(w(r, g * 16 + j));
          double best = 1e300;
          for (int i = 0; i < 80; ++i)
            best = std::min(
                best, power_error_oracle(oracle, group, grid_oracle(oracle, group, 1 - i / 100.0)));
          const double widest = power_error_oracle(oracle, group, grid_oracle(oracle, group));
          const double found = power_error_oracle(
              oracle, group, {f.scales(r, g), static_cast<double>(f.zeros(r, g))});
          ASSERT_LE(found, best * 1.02 + 1e-12);
          ASSERT_LE(found, widest * (1 + 1e-4));
          if (found < widest) ++shrunk;
        }
      EXPECT_GT(shrunk, 20);
    }
  }
}

TEST(Grid, SearchKeepsTheWiderRangeOnTies) {
  const std::vector<float> exact = {0, 15, 3, 4, 0, 0, 0, 0};  // on the grid already; and zeros
  const Fitted f = fit({.mse = true}, {exact.data(), 1, 8}, 4);
  EXPECT_EQ(f.scales(0, 0), 1.0f);
  EXPECT_EQ(f.scales(0, 1), f16_to_f32(f32_to_f16(2.0f / 15)));
}

TEST(Grid, IsTheSameBytesForAnyNumberOfThreadsAndAnySplit) {
  const Matrix<float> w = Random(9).normals(200, 64);
  const UniformGrid grid{.bits = 3, .mse = true};
  const Fitted whole = fit(grid, w.view(), 32, 1);
  const Fitted threads = fit(grid, w.view(), 32, 2);
  EXPECT_EQ(codes_of(whole), codes_of(threads));
  const Fitted row = fit(grid, w.view().rows_from(77, 1), 32);
  EXPECT_EQ(std::memcmp(row.codes.data(), whole.codes.row(77), 64), 0);
  EXPECT_EQ(std::memcmp(row.scales.data(), whole.scales.row(77), 2 * sizeof(float)), 0);
}

TEST(Grid, RefusesShapesThatDoNotFit) {
  const Place place = cpu_place(1);
  Matrix<float> w(2, 8), scales(2, 2);
  Matrix<std::uint8_t> zeros(2, 2), codes(2, 8);
  w.fill(0);
  EXPECT_THROW(fit_grid(place, {}, w.view(), 3, scales.view(), zeros.view()), Error);
  EXPECT_THROW(fit_grid(place, {}, w.view(), 8, scales.view(), zeros.view()), Error);
  EXPECT_THROW(fit_grid(place, {.bits = 1}, w.view(), 4, scales.view(), zeros.view()), Error);
  const std::vector<std::int32_t> outside(8, 2);
  EXPECT_THROW(
      round_to_grid(place, {}, w.view(), outside, scales.view(), zeros.view(), codes.view()),
      Error);
}

}  // namespace
}  // namespace bitgrid::test
