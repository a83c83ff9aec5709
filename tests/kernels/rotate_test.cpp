#include "kernels/rotate.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

#include "kernels/error.hpp"
#include "tests/oracle/quip.hpp"
#include "tests/oracle/random.hpp"
#include "tests/tolerance.hpp"

namespace bitgrid::test {
namespace {

// Factors of any numbers: turning must not count on their being orthogonal, backwards it
// transposes.
struct Factors {
  Factors(std::int64_t p0, std::int64_t p1, bool blocked, std::uint64_t seed)
      : p0(p0), p1(p1), blocked(blocked) {
    Random random(seed);
    a = random.normals(blocked ? p0 * p1 : p0, p0);
    b = random.normals(blocked ? p0 * p1 : p1, p1);
    for (auto* order : {&gather, &pick}) {
      order->resize(static_cast<std::size_t>(p0 * p1));
      std::iota(order->begin(), order->end(), 0);
      for (std::size_t i = order->size(); i > 1; --i)
        std::swap((*order)[i - 1],
                  (*order)[static_cast<std::size_t>(random.below(static_cast<std::int64_t>(i)))]);
    }
  }
  Rotation view() const { return {p0, p1, a.view(), b.view(), gather, pick}; }
  Square dense() const {
    DenseFactors f{p0, p1, {}, {}, gather, pick};
    for (std::int64_t i = 0; i < a.rows(); i += p0) f.a.push_back(square(a, i, p0));
    for (std::int64_t i = 0; i < b.rows(); i += p1) f.b.push_back(square(b, i, p1));
    return rotation_oracle(f);
  }
  static Square square(const Matrix<float>& m, std::int64_t first, std::int64_t p) {
    Square s(p);
    for (std::int64_t i = 0; i < p; ++i)
      for (std::int64_t j = 0; j < p; ++j) s(i, j) = static_cast<double>(m(first + i, j));
    return s;
  }

  std::int64_t p0, p1;
  bool blocked;
  Matrix<float> a, b;
  std::vector<std::int32_t> gather, pick;
};

TEST(Rotate, MatchesTheUnitVector) {
  Matrix<float> a(2, 2), b(3, 3), x(1, 6), y(1, 6), back(1, 6);
  const float a_values[] = {0.6f, 0.8f, -0.8f, 0.6f};
  const float b_values[] = {2, -1, 2, 2, 2, -1, -1, 2, 2};
  std::copy(std::begin(a_values), std::end(a_values), a.data());
  for (int i = 0; i < 9; ++i) b.data()[i] = b_values[i] / 3;
  for (int i = 0; i < 6; ++i) x(0, i) = static_cast<float>(i + 1);
  const std::int32_t gather[] = {2, 0, 5, 1, 4, 3}, pick[] = {1, 3, 0, 5, 2, 4};
  const Rotation m{2, 3, a.view(), b.view(), gather, pick};
  rotate_rows(cpu_place(1), m, Turn::forward, x.view(), y.view());
  const double expected[] = {3.066667, -3.133333, 5.266667, 0.266667, 6.466667, 1.466667};
  for (int i = 0; i < 6; ++i) EXPECT_NEAR(y(0, i), expected[i], 2e-6) << i;
  rotate_rows(cpu_place(1), m, Turn::inverse, y.view(), back.view());
  for (int i = 0; i < 6; ++i) EXPECT_NEAR(back(0, i), x(0, i), 2e-6) << i;
}

template <class T>
void compare(const Factors& factors, Turn turn, bool rows, std::int64_t vectors, double unit) {
  const std::int64_t d = factors.p0 * factors.p1;
  const Square m = factors.dense();
  Random random(7);
  Matrix<T> x(rows ? vectors : d, rows ? d : vectors), y(x.rows(), x.cols());
  for (std::int64_t i = 0; i < x.size(); ++i) x.data()[i] = static_cast<T>(random.normal());
  const MatrixView<const T> in = x.view();
  if (rows)
    rotate_rows(cpu_place(2), factors.view(), turn, in, y.view());
  else
    rotate_columns(cpu_place(2), factors.view(), turn, in, y.view());
  for (std::int64_t vector = 0; vector < vectors; ++vector)
    for (std::int64_t i = 0; i < d; ++i) {
      double sum = 0, magnitude = 0;
      for (std::int64_t j = 0; j < d; ++j) {
        const double term = (turn == Turn::forward ? m(i, j) : m(j, i)) *
                            static_cast<double>(rows ? x(vector, j) : x(j, vector));
        sum += term;
        magnitude += std::fabs(term);
      }
      // Two sums, of p0 and p1 products.
      const double allowed =
          4 * static_cast<double>(factors.p0 + factors.p1) * unit * magnitude + 1e-30;
      ASSERT_NEAR(static_cast<double>(rows ? y(vector, i) : y(i, vector)), sum, allowed)
          << vector << ", " << i;
    }
}

TEST(Rotate, IsTheDenseMatrix) {
  struct Shape {
    std::int64_t p0, p1;
  };
  for (const bool blocked : {false, true})
    for (const Shape shape : {Shape{1, 1}, {1, 5}, {5, 1}, {3, 7}, {8, 16}})
      for (const std::int64_t vectors : {1L, 3L, 64L, 129L})
        for (const Turn turn : {Turn::forward, Turn::inverse})
          for (const bool rows : {true, false}) {
            const Factors factors(shape.p0, shape.p1, blocked, 5);
            compare<float>(factors, turn, rows, vectors, kRoundF32);
            compare<double>(factors, turn, rows, vectors, 0x1p-53);
          }
}

TEST(Rotate, IsTheSameBytesForAnyNumberOfThreads) {
  for (const bool blocked : {false, true}) {
    const Factors factors(6, 10, blocked, 3);
    const Matrix<float> x = Random(4).normals(200, 60);
    Matrix<float> one(200, 60), two(200, 60);
    rotate_rows(cpu_place(1), factors.view(), Turn::forward, x.view(), one.view());
    rotate_rows(cpu_place(2), factors.view(), Turn::forward, x.view(), two.view());
    EXPECT_EQ(std::memcmp(one.data(), two.data(), sizeof(float) * 200 * 60), 0);
  }
}

TEST(Rotate, CopiesWithoutFactorsAndRefusesWhatDoesNotFit) {
  const Matrix<float> x = Random(4).normals(3, 6);
  Matrix<float> y(3, 6), other(3, 5);
  rotate_rows(cpu_place(1), {2, 3, {}, {}, {}, {}}, Turn::inverse, x.view(), y.view());
  EXPECT_EQ(std::memcmp(x.data(), y.data(), sizeof(float) * 18), 0);
  Factors factors(2, 3, false, 3);
  const auto turn = [&](const Rotation& m) {
    rotate_rows(cpu_place(1), m, Turn::forward, x.view(), y.view());
  };
  EXPECT_NO_THROW(turn(factors.view()));
  EXPECT_THROW(turn(Factors(2, 2, false, 3).view()), Error);
  EXPECT_THROW(rotate_rows(cpu_place(1), factors.view(), Turn::forward, x.view(), other.view()),
               Error);
  Rotation bad = factors.view();
  bad.b = factors.a.view();
  EXPECT_THROW(turn(bad), Error);
  factors.pick[2] = 6;
  EXPECT_THROW(turn(factors.view()), Error);
  factors.pick.pop_back();
  EXPECT_THROW(turn(factors.view()), Error);
}

}  // namespace
}  // namespace bitgrid::test
