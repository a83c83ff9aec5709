#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/clip_search.hpp"
#include "kernels/error.hpp"
#include "kernels/fake_quantize_weights.hpp"
#include "kernels/round_to_grid.hpp"
#include "tests/oracle/quantization.hpp"
#include "tests/oracle/random.hpp"
#include "tests/tolerance.hpp"

namespace bitgrid::test {
namespace {

bool same_bytes(const Matrix<float>& a, const Matrix<float>& b) {
  return std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.size()) * sizeof(float)) == 0;
}

TEST(RoundedToF16, IsTheWayThroughAHalf) {
  const auto check = [](float f) {
    const float expected = f16_to_f32(f32_to_f16(f)), found = rounded_to_f16(f);
    if (std::isnan(f)) {
      EXPECT_TRUE(std::isnan(found));
    } else {
      EXPECT_EQ(std::bit_cast<std::uint32_t>(found), std::bit_cast<std::uint32_t>(expected)) << f;
    }
  };
  Random random(1);
  for (int i = 0; i < 200000; ++i)
    check(std::bit_cast<float>(static_cast<std::uint32_t>(random.below(std::int64_t{1} << 32))));
  for (std::uint32_t h = 0; h < 0x10000; ++h) {  // every half, its neighbours and the ties
    const auto u = std::bit_cast<std::uint32_t>(f16_to_f32(static_cast<std::uint16_t>(h)));
    for (const std::uint32_t off : {0u, 1u, 0xfffu, 0x1000u, 0x1001u, 0xffffffffu})
      check(std::bit_cast<float>(u + off));
  }
  for (int e = -30; e <= -13; ++e)
    for (int m = 1; m < 64; ++m) check(std::ldexp(static_cast<float>(m), e));
}

struct GridCase {
  UniformGrid grid;
  std::int64_t group;
};
class Grids : public testing::TestWithParam<GridCase> {
 protected:
  static GridOracle oracle() {
    const UniformGrid g = GetParam().grid;
    return {g.bits, g.symmetric, g.scale_f16, g.minmax || g.full_range};
  }
};
INSTANTIATE_TEST_SUITE_P(
    Kinds, Grids,
    testing::Values(GridCase{{.bits = 4}, 43}, GridCase{{.bits = 3}, 129}, GridCase{{.bits = 2}, 3},
                    GridCase{{.bits = 8, .symmetric = true}, 43}, GridCase{{.bits = 4}, 1},
                    GridCase{{.bits = 3, .minmax = true}, 43},
                    GridCase{{.bits = 2, .symmetric = true, .full_range = true}, 43},
                    GridCase{{.bits = 3, .scale_f16 = false}, 129},
                    GridCase{{.bits = 3, .mse = true}, 43}));

Matrix<float> awkward_weights(std::int64_t rows, std::int64_t in) {
  Matrix<float> w = Random(5).normals(rows, in, 0.05);
  w(0, 5) = 3;  // an outlier
  for (std::int64_t j = 0; j < in && rows > 2; ++j) {
    w(1, j) = 0;                           // zeros
    w(2, j) = 0.25f + std::fabs(w(2, j));  // one-sided
  }
  return w;
}

// The same operations one after the other, as the final rounding does them: bit for bit.
TEST_P(Grids, FakeQuantizationIsFitRoundAndDequantize) {
  const auto [grid, group] = GetParam();
  const Place place = cpu_place(1);
  for (const std::int64_t rows : {1, 3, 67}) {
    const Matrix<float> w = awkward_weights(rows, 129);
    std::vector<std::int32_t> group_of;
    for (std::int64_t j = 0; j < 129; ++j) group_of.push_back(static_cast<std::int32_t>(j / group));
    for (const bool scaled : {false, true}) {
      std::vector<float> scale;
      Matrix<float> expected = w.clone(), found(rows, 129);
      for (std::int64_t j = 0; scaled && j < 129; ++j) {
        scale.push_back(static_cast<float>(std::exp2(0.1 * static_cast<double>(j % 11) - 0.5)));
        for (std::int64_t r = 0; r < rows; ++r) expected(r, j) *= scale.back();
      }
      Matrix<float> scales(rows, 129 / group);
      Matrix<std::uint8_t> zeros(rows, 129 / group), codes(rows, 129);
      fit_grid(place, grid, expected.view(), group, scales.view(), zeros.view());
      round_to_grid(place, grid, expected.view(), group_of, scales.view(), zeros.view(),
                    codes.view());
      dequantize(place, codes.view(), group_of, scales.view(), zeros.view(), expected.view());
      for (std::int64_t r = 0; r < rows; ++r)
        for (std::size_t j = 0; j < scale.size(); ++j)
          expected(r, static_cast<std::int64_t>(j)) *= 1.0f / scale[j];
      for (const int threads : {1, 2}) {
        fake_quantize_weights(cpu_place(threads), grid, w.view(), group, scale, found.view());
        EXPECT_TRUE(same_bytes(found, expected)) << rows << " rows, scaled: " << scaled;
      }
    }
  }
}

// Scale and zero by the formulas, in fp64.
TEST_P(Grids, RangesFollowTheFormulas) {
  const auto [grid, group] = GetParam();
  if (grid.mse) GTEST_SKIP() << "the search has a test of its own";
  const Matrix<float> w = awkward_weights(67, 129);
  Matrix<float> scales(67, 129 / group);
  Matrix<std::uint8_t> zeros(67, 129 / group);
  fit_grid(cpu_place(2), grid, w.view(), group, scales.view(), zeros.view());
  for (std::int64_t r = 0; r < 67; ++r)
    for (std::int64_t g = 0; g < scales.cols(); ++g) {
      const std::vector<double> values(w.row(r) + g * group, w.row(r) + (g + 1) * group);
      const ScaleZero expected = grid_oracle(oracle(), values);
      // Two roundings in fp32 may cross a tie of fp16.
      EXPECT_NEAR(scales(r, g), expected.scale, (2 * kRoundF16 + 4 * kRoundF32) * expected.scale);
      EXPECT_LE(std::fabs(zeros(r, g) - expected.zero), 1);
    }
}

struct ClipData {
  Matrix<float> w, c;
};

ClipData clip_data(std::int64_t rows, std::int64_t in, std::int64_t group) {
  ClipData d{awkward_weights(rows, in), Matrix<float>(in, group)};
  const Matrix<float> x = Random(7).activations(3 * in, in);
  for (std::int64_t i = 0; i < in; ++i)
    for (std::int64_t k = 0; k < group; ++k) {
      double sum = 0;
      for (std::int64_t t = 0; t < x.rows(); ++t)
        sum += static_cast<double>(x(t, i)) * static_cast<double>(x(t, i / group * group + k));
      d.c(i, k) = static_cast<float>(sum);
    }
  return d;
}

// Output error of one group clamped to the bound of `step`, in fp64.
double clip_error(const GridOracle& grid, const ClipData& d, std::int64_t row, std::int64_t g,
                  int step) {
  const std::int64_t group = d.c.cols();
  const float* w = d.w.row(row) + g * group;
  double largest = 0;
  for (std::int64_t j = 0; j < group; ++j)
    largest = std::max(largest, static_cast<double>(std::fabs(w[j])));
  const double bound = largest * (1 - 0.05 * step);
  std::vector<double> clamped, off;
  for (std::int64_t j = 0; j < group; ++j) clamped.push_back(clamp_oracle(w[j], -bound, bound));
  const ScaleZero s = grid_oracle(grid, clamped);
  for (std::int64_t j = 0; j < group; ++j) {
    const double code = code_oracle(grid, clamped[static_cast<std::size_t>(j)], s);
    off.push_back(s.scale * (code - s.zero) - w[j]);
  }
  double error = 0;
  for (std::int64_t i = 0; i < group; ++i)
    for (std::int64_t j = 0; j < group; ++j)
      error += off[static_cast<std::size_t>(i)] * static_cast<double>(d.c(g * group + i, j)) *
               off[static_cast<std::size_t>(j)];
  return error;
}

// A tie between codes may fall to either side in fp32, so a few groups may choose what is second in
// fp64; not one may be far off.
TEST_P(Grids, ClipSearchFindsTheSmallestError) {
  const auto [grid, group] = GetParam();
  if (grid.mse) GTEST_SKIP() << "the oracle has no range search";
  // A range clamped at both ends has its zero on a tie, which only the rounding of s decides.
  if (!grid.scale_f16) GTEST_SKIP() << "the last bits of s decide";
  for (const std::int64_t rows : {3, 150}) {
    const ClipData d = clip_data(rows, 129, group);
    Matrix<std::uint8_t> steps(rows, 129 / group);
    search_clip(cpu_place(2), grid, d.w.view(), d.c.view(), steps.view());
    std::int64_t clipped = 0, second = 0;
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::int64_t g = 0; g < steps.cols(); ++g) {
        double best = std::numeric_limits<double>::infinity();
        int expected = 0;
        for (int step = 0; step < 10; ++step) {
          const double error = clip_error(oracle(), d, r, g, step);
          if (error < best) expected = step;
          best = std::min(best, error);
        }
        clipped += steps(r, g) > 0;
        if (steps(r, g) == expected) continue;
        ++second;
        EXPECT_LE(clip_error(oracle(), d, r, g, steps(r, g)), 1.2 * best + 1e-9);
      }
    const double count = static_cast<double>(steps.size());
    EXPECT_LE(static_cast<double>(second), 0.05 * count + 1);
    if (grid.bits < 8 && group > 3 && rows > 3) {
      EXPECT_GT(static_cast<double>(clipped), 0.2 * count);
    }
  }
}

TEST(ClipSearch, ClipsAndTakesTheWiderBoundOfEquals) {
  const ClipData d = clip_data(3, 129, 43);
  Matrix<std::uint8_t> steps(3, 3);
  Matrix<float> none(129, 43);
  none.fill(0);  // no input: all errors are equal
  search_clip(cpu_place(1), {}, d.w.view(), none.view(), steps.view());
  for (std::int64_t i = 0; i < 9; ++i) EXPECT_EQ(steps.data()[i], 0);
  none.fill(std::numeric_limits<float>::quiet_NaN());
  search_clip(cpu_place(1), {}, d.w.view(), none.view(), steps.view());
  for (std::int64_t i = 0; i < 9; ++i) EXPECT_EQ(steps.data()[i], 0);
  steps(0, 0) = 9;
  Matrix<float> w = d.w.clone();
  clip_groups(cpu_place(2), steps.view(), w.view());
  EXPECT_EQ(w(0, 5), clip_bound(3, 9));
  EXPECT_NEAR(w(0, 5), 3 * 0.55, 1e-6);
  w(0, 5) = 3;
  EXPECT_TRUE(same_bytes(w, d.w));
}

TEST(ClipSearch, IsTheSameOnAnyNumberOfThreads) {
  const ClipData d = clip_data(150, 129, 43);
  for (const bool mse : {false, true}) {
    Matrix<std::uint8_t> one(150, 3), two(150, 3);
    const UniformGrid grid{.bits = 3, .mse = mse};
    search_clip(cpu_place(1), grid, d.w.view(), d.c.view(), one.view());
    search_clip(cpu_place(2), grid, d.w.view(), d.c.view(), two.view());
    EXPECT_TRUE(std::equal(one.data(), one.data() + one.size(), two.data()));
  }
}

TEST(ScaleAndClip, RefusesShapesThatDoNotFit) {
  const Place place = cpu_place(1);
  Matrix<float> w(2, 6), y(2, 6), c(6, 4);
  Matrix<std::uint8_t> steps(2, 2);
  const std::vector<float> scale(5, 1.0f);
  EXPECT_THROW(fake_quantize_weights(place, {}, w.view(), 4, {}, y.view()), Error);
  EXPECT_THROW(fake_quantize_weights(place, {}, w.view(), 0, {}, y.view()), Error);
  EXPECT_THROW(fake_quantize_weights(place, {}, w.view(), 3, scale, y.view()), Error);
  EXPECT_THROW(fake_quantize_weights(place, {}, w.view(), 3, {}, y.rows_from(0, 1)), Error);
  EXPECT_THROW(search_clip(place, {}, w.view(), c.view(), steps.view()), Error);
  EXPECT_THROW(search_clip(place, {}, w.view(), c.rows_from(0, 3), steps.view()), Error);
  EXPECT_THROW(clip_groups(place, steps.rows_from(0, 1), w.view()), Error);
}

}  // namespace
}  // namespace bitgrid::test
