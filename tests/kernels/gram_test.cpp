#include "kernels/gram.hpp"

#include <gtest/gtest.h>

#include <cstring>

#include "kernels/error.hpp"
#include "tests/oracle/linear_algebra.hpp"
#include "tests/oracle/random.hpp"
#include "tests/tolerance.hpp"

namespace bitgrid::test {
namespace {

struct Shape {
  std::int64_t tokens, in;
};

class Gram : public testing::TestWithParam<Shape> {};

TEST_P(Gram, MatchesTheSumOfProducts) {
  const auto [tokens, in] = GetParam();
  Random random(static_cast<std::uint64_t>(1000 * tokens + in));
  const Matrix<float> x = random.normals(tokens, in);
  Matrix<double> s(in, in);
  s.fill(7.0);
  accumulate_gram(cpu_place(2), x.view(), s.view());
  const Square oracle = gram_oracle(x.view());
  Matrix<float> magnitudes = x.clone();
  for (std::int64_t i = 0; i < magnitudes.size(); ++i)
    magnitudes.data()[i] = std::fabs(magnitudes.data()[i]);
  const Square bound = gram_oracle(magnitudes.view());
  for (std::int64_t i = 0; i < in; ++i) {
    for (std::int64_t j = 0; j <= i; ++j)
      ASSERT_NEAR(s(i, j), oracle(i, j) + 7, dot_tolerance(tokens, bound(i, j) + 7))
          << i << ", " << j;
    for (std::int64_t j = i + 1; j < in; ++j) ASSERT_EQ(s(i, j), 7.0);  // the other triangle
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, Gram,
                         testing::Values(Shape{1, 1}, Shape{3, 5}, Shape{17, 129}, Shape{40, 257},
                                         Shape{9, 600}, Shape{5, 1030},
                                         Shape{kGramChunk + 3, 1030}));

// Up to kExactGramIn channels products and sums are fp64: magnitudes that fp32 would lose stay.
TEST(Gram, KeepsWhatFp32WouldLose) {
  Matrix<float> x(3, 2);
  x.fill(0);
  x(0, 0) = 4096;
  x(1, 0) = 0.25f;
  x(2, 0) = x(2, 1) = 1.0f + 0x1p-23f;
  Matrix<double> s(2, 2);
  s.fill(0);
  accumulate_gram(cpu_place(1), x.view(), s.view());
  const double square = (1 + 0x1p-23) * (1 + 0x1p-23);
  EXPECT_EQ(s(0, 0), 4096.0 * 4096 + 0.0625 + square);
  EXPECT_EQ(s(1, 0), square);
}

// Small integers: every partial sum is exact, so any order of additions gives the same bits.
TEST(Gram, IsExactOnSmallIntegers) {
  Random random(5);
  Matrix<float> x(301, 530);
  for (std::int64_t i = 0; i < x.size(); ++i)
    x.data()[i] = static_cast<float>(random.below(17) - 8);
  const Square oracle = gram_oracle(x.view());
  for (const std::int64_t split : {0, 1, 150, 301}) {
    Matrix<double> s(x.cols(), x.cols());
    s.fill(0);
    const Place place = cpu_place(2);
    accumulate_gram(place, x.rows_from(0, split), s.view());
    accumulate_gram(place, x.rows_from(split, x.rows() - split), s.view());
    for (std::int64_t i = 0; i < s.rows(); ++i)
      for (std::int64_t j = 0; j <= i; ++j) ASSERT_EQ(s(i, j), oracle(i, j)) << split;
  }
}

TEST(Gram, IsTheSameBytesForAnyNumberOfThreads) {
  const Matrix<float> x = Random(6).normals(120, 1100);
  Matrix<double> one(1100, 1100), two(1100, 1100);
  one.fill(0);
  two.fill(0);
  accumulate_gram(cpu_place(1), x.view(), one.view());
  accumulate_gram(cpu_place(2), x.view(), two.view());
  EXPECT_EQ(
      std::memcmp(one.data(), two.data(), static_cast<std::size_t>(one.size()) * sizeof(double)),
      0);
}

TEST(Gram, ReadsViewsWithGaps) {
  const Matrix<float> wide = Random(7).normals(20, 11);
  const MatrixView<const float> x = wide.view().cols_from(3, 6);
  Matrix<double> s(6, 6);
  s.fill(0);
  accumulate_gram(cpu_place(1), x, s.view());
  const Square oracle = gram_oracle(x);
  for (std::int64_t i = 0; i < 6; ++i)
    for (std::int64_t j = 0; j <= i; ++j) EXPECT_NEAR(s(i, j), oracle(i, j), 1e-4);
}

TEST(Gram, RefusesAnotherShape) {
  Matrix<float> x(4, 3);
  Matrix<double> s(4, 4);
  EXPECT_THROW(accumulate_gram(cpu_place(1), x.view(), s.view()), Error);
}

TEST(Gram, NamesTheMissingCudaBackend) {
  Matrix<float> x(4, 3);
  Matrix<double> s(3, 3);
  Place place;
  place.device = Device::cuda;
  try {
    accumulate_gram(place, x.view(), s.view());
    FAIL() << "expected an Error";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("CUDA backend not loaded"), std::string::npos);
  }
}

}  // namespace
}  // namespace bitgrid::test
