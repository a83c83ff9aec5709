#include "kernels/fdb_scales.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "kernels/fdb_rows.hpp"
#include "tests/oracle/test_matrix.hpp"

namespace bitgrid {
namespace {
using oracle::integer_matrix;
using oracle::random_matrix;

Matrix<std::uint8_t> random_codes(std::int64_t rows, std::int64_t cols, unsigned seed) {
  std::mt19937 generator(seed);
  Matrix<std::uint8_t> codes(rows, cols);
  for (std::int64_t i = 0; i < codes.size(); ++i)
    codes.data()[i] = static_cast<std::uint8_t>(generator() % 4);
  return codes;
}

struct Shape {
  std::int64_t rows, groups, group;
};
constexpr Shape kShapes[] = {{1, 1, 1}, {3, 2, 3}, {33, 1, 129}, {257, 3, 16}, {5, 4, 35}};

class FdbScales : public testing::TestWithParam<int> {  // number of threads
 protected:
  Place place = cpu_place(GetParam());
};
INSTANTIATE_TEST_SUITE_P(Threads, FdbScales, testing::Values(1, 2),
                         testing::PrintToStringParamName());

TEST_P(FdbScales, WeightsAreTheValuesOfCodes) {
  for (const auto& [rows, groups, group] : kShapes) {
    const Matrix<std::uint8_t> codes = random_codes(rows, groups * group, 1);
    const Matrix<float> a1 = random_matrix(rows, groups, 2), a2 = random_matrix(rows, groups, 3);
    Matrix<float> w(rows, groups * group);
    fdb_weights(place, codes.view(), a1.view(), a2.view(), w.view());
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::int64_t j = 0; j < w.cols(); ++j)
        ASSERT_EQ(w(r, j), fdb_value(codes(r, j), a1(r, j / group), a2(r, j / group)))
            << r << ", " << j;
  }
}

TEST_P(FdbScales, GradientSumsWhatEachPlaneSelects) {
  for (const auto& [rows, groups, group] : kShapes) {
    const Matrix<std::uint8_t> codes = random_codes(rows, groups * group, 4);
    const Matrix<float> dw = integer_matrix(rows, groups * group, 5);  // sums are exact
    Matrix<float> d1(rows, groups), d2(rows, groups);
    fdb_scale_gradient(place, codes.view(), dw.view(), d1.view(), d2.view());
    for (std::int64_t r = 0; r < rows; ++r)
      for (std::int64_t g = 0; g < groups; ++g) {
        double first = 0, second = 0;
        for (std::int64_t j = g * group; j < (g + 1) * group; ++j) {
          first += static_cast<double>(codes(r, j) / 2) * static_cast<double>(dw(r, j));
          second += static_cast<double>(codes(r, j) % 2) * static_cast<double>(dw(r, j));
        }
        ASSERT_EQ(static_cast<double>(d1(r, g)), first) << r << ", " << g;
        ASSERT_EQ(static_cast<double>(d2(r, g)), second) << r << ", " << g;
      }
  }
}

TEST(FdbScaleShapes, AreChecked) {
  const Place place = cpu_place(1);
  const Matrix<std::uint8_t> codes = random_codes(3, 6, 6);
  Matrix<float> w(3, 6), two(3, 2), four(3, 4), fewer(2, 2);
  EXPECT_THROW(fdb_weights(place, codes.view(), four.view(), four.view(), w.view()), Error);
  EXPECT_THROW(fdb_weights(place, codes.view(), two.view(), fewer.view(), w.view()), Error);
  EXPECT_THROW(fdb_weights(place, codes.view(), two.view(), two.view(), two.view()), Error);
  EXPECT_THROW(fdb_scale_gradient(place, codes.view(), two.view(), two.view(), two.view()), Error);
  EXPECT_THROW(fdb_scale_gradient(place, codes.view(), w.view(), two.view(), four.view()), Error);
  Place cuda;
  cuda.device = Device::cuda;
  const auto unavailable =
      testing::ThrowsMessage<Error>(testing::HasSubstr("CUDA backend not loaded"));
  EXPECT_THAT([&] { fdb_weights(cuda, codes.view(), two.view(), two.view(), w.view()); },
              unavailable);
  EXPECT_THAT([&] { fdb_scale_gradient(cuda, codes.view(), w.view(), two.view(), two.view()); },
              unavailable);
}

}  // namespace
}  // namespace bitgrid
