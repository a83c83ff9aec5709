#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/model/segments.hpp"

namespace bitgrid {
namespace {

LlamaConfig rope_config(std::int64_t head_size, double factor) {
  LlamaConfig config;
  config.head_size = head_size;
  config.rope_theta = 500000;
  config.rope_scaled = factor != 0;
  config.rope_scaling.factor = factor;
  return config;
}

// At position 1 the angle is the frequency itself: sin for small ones, atan2 for all.
double frequency(const RopeTable& table, std::int64_t j) {
  return std::atan2(static_cast<double>(table.sin(1, j)), static_cast<double>(table.cos(1, j)));
}

struct Expected {
  std::int64_t j;
  double frequency;
};

void expect_frequencies(const RopeTable& table, std::initializer_list<Expected> all) {
  for (const auto& [j, expected] : all)
    EXPECT_NEAR(frequency(table, j) / expected, 1, 3 * std::numeric_limits<float>::epsilon())
        << "j = " << j;
}

TEST(RopeTableTest, PlainFrequencies) {
  expect_frequencies(make_rope_table(rope_config(128, 0), 2), {{0, 1},
                                                               {1, 8.1461723386e-1},
                                                               {2, 6.6360123770e-1},
                                                               {16, 3.7606030931e-2},
                                                               {29, 2.6160992529e-3},
                                                               {30, 2.1311195369e-3},
                                                               {31, 1.7360467022e-3},
                                                               {32, 1.4142135624e-3},
                                                               {33, 1.1520427403e-3},
                                                               {34, 9.3847387036e-4},
                                                               {63, 2.4551407911e-6}});
}

TEST(RopeTableTest, FrequenciesScaledByEight) {
  expect_frequencies(make_rope_table(rope_config(128, 8), 2), {{0, 1},
                                                               {1, 8.1461723386e-1},
                                                               {2, 6.6360123770e-1},
                                                               {16, 3.7606030931e-2},
                                                               {29, 2.1665707635e-3},
                                                               {30, 1.3718935678e-3},
                                                               {31, 8.5675141292e-4},
                                                               {32, 5.2484616099e-4},
                                                               {33, 3.1269375038e-4},
                                                               {34, 1.7850781277e-4},
                                                               {63, 3.0689259889e-7}});
}

TEST(RopeTableTest, FrequenciesScaledByThirtyTwo) {
  expect_frequencies(make_rope_table(rope_config(128, 32), 2), {{16, 3.7606030931e-2},
                                                                {29, 2.1184069968e-3},
                                                                {30, 1.2905479282e-3},
                                                                {31, 7.6254120336e-4},
                                                                {32, 4.2955679656e-4},
                                                                {33, 2.2276350147e-4},
                                                                {34, 9.7082878026e-5},
                                                                {63, 7.6723149723e-8}});
  expect_frequencies(
      make_rope_table(rope_config(64, 32), 2),
      {{15, 1.2905479282e-3}, {16, 4.2955679656e-4}, {17, 9.7082878026e-5}, {31, 9.4183067254e-8}});
}

TEST(RopeTableTest, ScalingLeavesFastComponentsAndDividesSlowOnes) {
  const RopeTable plain = make_rope_table(rope_config(128, 0), 2);
  const RopeTable scaled = make_rope_table(rope_config(128, 8), 2);
  for (std::int64_t j = 0; j < 64; ++j) {
    const double ratio = frequency(plain, j) / frequency(scaled, j);
    const double tolerance = 4 * std::numeric_limits<float>::epsilon();
    if (j <= 28)
      EXPECT_NEAR(ratio, 1, tolerance) << j;
    else if (j <= 34)
      EXPECT_TRUE(ratio > 1.1 && ratio < 7.9) << j << " " << ratio;
    else
      EXPECT_NEAR(ratio, 8, 8 * tolerance) << j;
  }
}

TEST(RopeTableTest, AnglesAtFarPositions) {
  const RopeTable table = make_rope_table(rope_config(128, 0), 8192);
  struct Angle {
    std::int64_t p, j;
    double cos, sin;
  };
  for (const auto& a :
       {Angle{0, 5, 1, 0}, Angle{1, 0, 0.540302306, 0.841470985},
        Angle{100, 10, 0.954634398, 0.297780399}, Angle{2047, 10, 0.891237678, -0.453536550},
        Angle{8191, 10, 0.073873151, -0.997267646}, Angle{8191, 63, 0.999797800, 0.020108703}}) {
    // The frequency is off by half a unit, and so is its product with the position.
    const double angle = static_cast<double>(a.p) * std::pow(5e5, -static_cast<double>(a.j) / 64);
    const double tolerance = (angle + 2) * std::numeric_limits<float>::epsilon();
    EXPECT_NEAR(static_cast<double>(table.cos(a.p, a.j)), a.cos, tolerance) << a.p << " " << a.j;
    EXPECT_NEAR(static_cast<double>(table.sin(a.p, a.j)), a.sin, tolerance) << a.p << " " << a.j;
  }
}

// The reference multiplies fp32 by fp32; an angle in double would be another number this far out.
TEST(RopeTableTest, TheAngleIsRoundedToSinglePrecision) {
  const RopeTable table = make_rope_table(rope_config(128, 0), 8192);
  const auto frequency_1 = static_cast<float>(std::pow(5e5, -1.0 / 64));
  const float angle = 8191.0f * frequency_1;
  EXPECT_EQ(table.sin(8191, 1), static_cast<float>(std::sin(static_cast<double>(angle))));
  EXPECT_NE(table.sin(8191, 1),
            static_cast<float>(std::sin(8191.0 * static_cast<double>(frequency_1))));
}

}  // namespace
}  // namespace bitgrid
