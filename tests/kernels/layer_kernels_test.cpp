#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/attention.hpp"
#include "kernels/linear.hpp"
#include "kernels/rms_norm.hpp"
#include "kernels/rope.hpp"
#include "kernels/swiglu.hpp"
#include "tests/oracle/llama_oracle.hpp"

namespace bitgrid {
namespace {
using oracle::fp32_tolerance;
using oracle::integer_matrix;
using oracle::random_matrix;
using oracle::relative_difference;
using oracle::same_bytes;
using oracle::widen;

class LayerKernels : public testing::TestWithParam<int> {  // number of threads
 protected:
  Place place = cpu_place(GetParam());
};
INSTANTIATE_TEST_SUITE_P(Threads, LayerKernels, testing::Values(1, 2, 5),
                         testing::PrintToStringParamName());

TEST_P(LayerKernels, LinearIsExactOnWholeNumbers) {
  struct Shape {
    std::int64_t tokens, in, out;
  };
  for (const auto& [tokens, in, out] : {Shape{1, 1, 1}, Shape{3, 129, 5}, Shape{513, 3, 2},
                                        Shape{1, 2, 2049}, Shape{1025, 5, 2049}, Shape{0, 4, 4}}) {
    const Matrix<float> x = integer_matrix(tokens, in, 1);
    const Matrix<float> w = integer_matrix(out, in, 2);
    Matrix<float> y(tokens, out);
    y.fill(std::numeric_limits<float>::quiet_NaN());  // not read unless accumulating
    linear(place, x.view(), w.view(), y.view());
    const oracle::Rows expected = oracle::linear(widen(x.view()), widen(w.view()));
    EXPECT_EQ(relative_difference(y.view(), expected), 0) << tokens << " " << in << " " << out;
    linear(place, x.view(), w.view(), y.view(), Accumulate::yes);
    EXPECT_EQ(relative_difference(y.view(), oracle::add(expected, expected)), 0);
  }
}

TEST_P(LayerKernels, LinearReadsAndWritesInsideItsViewsOnly) {
  const Matrix<float> x = integer_matrix(7, 20, 1);
  const Matrix<float> w = integer_matrix(9, 30, 2);
  Matrix<float> y(7, 16);
  y.fill(-1.0f);
  const auto xv = x.view().cols_from(3, 5);
  const auto wv = w.view().cols_from(11, 5);
  linear(place, xv, wv, y.view().cols_from(4, 9));
  EXPECT_EQ(relative_difference(y.view().cols_from(4, 9), oracle::linear(widen(xv), widen(wv))), 0);
  for (std::int64_t r = 0; r < 7; ++r)
    for (const std::int64_t c : {0, 3, 13, 15}) EXPECT_EQ(y(r, c), -1.0f);
}

TEST_P(LayerKernels, RmsNormMatchesPlainLoops) {
  for (const std::int64_t hidden : {1, 3, 16, 129, 4096})
    for (const std::int64_t tokens : {1, 33, 257}) {
      Matrix<float> x = random_matrix(tokens, hidden, 3);
      const Matrix<float> w = random_matrix(1, hidden, 4);
      Matrix<float> y(tokens, hidden);
      rms_norm(place, x.view(), w.view(), 1e-5f, y.view());
      const oracle::Rows expected = oracle::rms_norm(widen(x.view()), widen(w.view())[0], 1e-5);
      EXPECT_LE(relative_difference(y.view(), expected), fp32_tolerance(hidden))
          << tokens << " " << hidden;
      rms_norm(place, x.view(), w.view(), 1e-5f, x.view());
      EXPECT_TRUE(same_bytes(x.view(), y.view())) << "in place";
    }
}

TEST_P(LayerKernels, RmsNormKeepsSmallChannelsBesideAHugeOne) {
  Matrix<float> x = random_matrix(3, 257, 5);
  for (std::int64_t t = 0; t < 3; ++t) x(t, 100) = 1e4f;
  Matrix<float> w(1, 257);
  w.fill(1.0f);
  w(0, 100) = 0.0f;  // what is left are the small ones
  Matrix<float> y(3, 257);
  rms_norm(place, x.view(), w.view(), 1e-5f, y.view());
  const oracle::Rows expected = oracle::rms_norm(widen(x.view()), widen(w.view())[0], 1e-5);
  EXPECT_LE(relative_difference(y.view(), expected), fp32_tolerance(257));
}

TEST_P(LayerKernels, RmsNormOfAZeroRowIsZero) {
  Matrix<float> x(2, 5);
  x.fill(0.0f);
  const Matrix<float> w = random_matrix(1, 5, 6);
  Matrix<float> y(2, 5);
  rms_norm(place, x.view(), w.view(), 1e-6f, y.view());
  EXPECT_EQ(widen(y.view()), widen(x.view()));
}

TEST_P(LayerKernels, RopeRotatesHalvesOfEveryHead) {
  constexpr std::int64_t tokens = 67;
  for (const std::int64_t size : {2, 6, 64}) {
    Matrix<float> x = random_matrix(tokens, 3 * size, 7);
    Matrix<float> cos(tokens + 1, size / 2), sin(tokens + 1, size / 2);
    for (std::int64_t t = 0; t <= tokens; ++t)
      for (std::int64_t j = 0; j < size / 2; ++j) {
        const double angle = static_cast<double>(t) * std::pow(1e4, -2.0 * static_cast<double>(j) /
                                                                        static_cast<double>(size));
        cos(t, j) = static_cast<float>(std::cos(angle));
        sin(t, j) = static_cast<float>(std::sin(angle));
      }
    const oracle::Rows expected =
        oracle::rope(widen(x.view()), static_cast<std::size_t>(size), 1e4);
    rope(place, x.view(), size, cos.view(), sin.view());
    EXPECT_LE(relative_difference(x.view(), expected), fp32_tolerance(2)) << size;
  }
}

struct AttentionCase {
  std::int64_t tokens, keys, heads, kv_heads, size;
};

void check_attention(const Place& place, const AttentionCase& c) {
  SCOPED_TRACE(testing::Message() << c.tokens << " of " << c.keys << " tokens, heads " << c.heads
                                  << "/" << c.kv_heads);
  const Matrix<float> q = random_matrix(c.tokens, c.heads * c.size, 8);
  const Matrix<float> k = random_matrix(c.keys, c.kv_heads * c.size, 9);
  const Matrix<float> v = random_matrix(c.keys, c.kv_heads * c.size, 10);
  Matrix<float> y(c.tokens, c.heads * c.size);
  attention(place, q.view(), k.view(), v.view(), c.size, y.view());
  const oracle::Rows expected =
      oracle::attention(widen(q.view()), widen(k.view()), widen(v.view()),
                        static_cast<std::size_t>(c.heads), static_cast<std::size_t>(c.kv_heads));
  EXPECT_LE(relative_difference(y.view(), expected), fp32_tolerance(c.keys, 2));
}

TEST_P(LayerKernels, AttentionMatchesPlainLoops) {
  for (const std::int64_t tokens : {1, 3, 127, 128, 129, 257})
    check_attention(place, {tokens, tokens, 4, 2, 6});
  for (const std::int64_t kv_heads : {1, 2, 4}) check_attention(place, {33, 33, 4, kv_heads, 8});
}

TEST_P(LayerKernels, AttentionOfTheLastTokensSeesTheOnesBefore) {
  check_attention(place, {1, 200, 4, 2, 6});
  check_attention(place, {130, 200, 2, 1, 8});
}

TEST_P(LayerKernels, AttentionSurvivesHugeScores) {
  Matrix<float> q(3, 4), k(3, 4), v = random_matrix(3, 4, 11), y(3, 4);
  q.fill(300.0f);
  k.fill(300.0f);
  for (std::int64_t j = 0; j < 4; ++j) k(1, j) = 299.0f;  // 600 below the others: weight 0
  attention(place, q.view(), k.view(), v.view(), 4, y.view());
  for (std::int64_t j = 0; j < 4; ++j) {
    EXPECT_FLOAT_EQ(y(1, j), v(0, j));
    EXPECT_FLOAT_EQ(y(2, j), (v(0, j) + v(2, j)) / 2);
  }
}

TEST_P(LayerKernels, AttentionKeepsNaN) {
  Matrix<float> q = random_matrix(3, 4, 12), k = random_matrix(3, 4, 13),
                v = random_matrix(3, 4, 14), y(3, 4);
  k(1, 2) = std::numeric_limits<float>::quiet_NaN();
  attention(place, q.view(), k.view(), v.view(), 4, y.view());
  EXPECT_TRUE(std::isfinite(y(0, 0)));  // token 0 does not see key 1
  EXPECT_TRUE(std::isnan(y(1, 0)));
  EXPECT_TRUE(std::isnan(y(2, 0)));
}

TEST_P(LayerKernels, SwigluMatchesPlainLoops) {
  for (const std::int64_t size : {1, 3, 16, 129}) {
    Matrix<float> gate = random_matrix(65, size, 15, 5);
    gate(0, 0) = -200.0f;  // exp overflows, silu is 0
    gate(1, 0) = 200.0f;
    const Matrix<float> up = random_matrix(65, size, 16);
    Matrix<float> y(65, size);
    swiglu(place, gate.view(), up.view(), y.view());
    EXPECT_LE(relative_difference(y.view(), oracle::swiglu(widen(gate.view()), widen(up.view()))),
              fp32_tolerance(4));
    EXPECT_EQ(y(0, 0), 0.0f);
    swiglu(place, gate.view(), up.view(), gate.view());
    EXPECT_TRUE(same_bytes(gate.view(), y.view())) << "in place";
  }
}

// Each operation on one thread and on this test's: the same bytes.
TEST_P(LayerKernels, ResultsDoNotDependOnThreads) {
  const Place one = cpu_place(1);
  const Matrix<float> x = random_matrix(700, 48, 17), w = random_matrix(2100, 48, 18);
  Matrix<float> a(700, 2100), b(700, 2100);
  linear(one, x.view(), w.view(), a.view());
  linear(place, x.view(), w.view(), b.view());
  EXPECT_TRUE(same_bytes(a.view(), b.view())) << "linear";
  Matrix<float> ya(700, 48), yb(700, 48);
  attention(one, x.view(), x.view().cols_from(0, 24), x.view().cols_from(24, 24), 12, ya.view());
  attention(place, x.view(), x.view().cols_from(0, 24), x.view().cols_from(24, 24), 12, yb.view());
  EXPECT_TRUE(same_bytes(ya.view(), yb.view())) << "attention";
  rms_norm(one, x.view(), w.rows_from(0, 1), 1e-5f, ya.view());
  rms_norm(place, x.view(), w.rows_from(0, 1), 1e-5f, yb.view());
  EXPECT_TRUE(same_bytes(ya.view(), yb.view())) << "rms_norm";
  swiglu(one, x.view(), ya.view(), ya.view());
  swiglu(place, x.view(), yb.view(), yb.view());
  EXPECT_TRUE(same_bytes(ya.view(), yb.view())) << "swiglu";
}

TEST(LayerKernelShapes, AreChecked) {
  const Place place = cpu_place(1);
  Matrix<float> a(3, 4), b(3, 5), c(1, 4), y(3, 3);
  EXPECT_THROW(linear(place, a.view(), b.view(), y.view()), Error);
  EXPECT_THROW(linear(place, a.view(), a.view(), a.view()), Error);
  EXPECT_THROW(linear(place, a.view(), a.view(), b.view().rows_from(0, 2)), Error);
  EXPECT_THROW(rms_norm(place, a.view(), b.rows_from(0, 1), 1e-5f, a.view()), Error);
  EXPECT_THROW(rms_norm(place, a.view(), a.view(), 1e-5f, a.view()), Error);
  EXPECT_THROW(rms_norm(place, a.view(), c.view(), 1e-5f, b.view()), Error);
  EXPECT_THROW(rope(place, b.view(), 5, b.view(), b.view()), Error);
  EXPECT_THROW(rope(place, a.view(), 4, a.view(), a.view()), Error);
  EXPECT_THROW(
      rope(place, a.view(), 4, a.rows_from(0, 2).cols_from(0, 2), a.view().cols_from(0, 2)), Error);
  EXPECT_THROW(swiglu(place, a.view(), b.view(), a.view()), Error);
  EXPECT_THROW(attention(place, a.view(), a.view(), b.view(), 4, a.view()), Error);
  EXPECT_THROW(attention(place, a.view(), c.view(), c.view(), 4, a.view()), Error);
  EXPECT_THROW(attention(place, a.view(), a.view(), a.view(), 3, a.view()), Error);
}

TEST(LayerKernelDevices, CudaSaysThatItIsNotThere) {
  Place place;
  place.device = Device::cuda;
  Matrix<float> a(4, 4);
  a.fill(0.0f);
  const auto v = a.view();
  const auto unavailable =
      testing::ThrowsMessage<Error>(testing::HasSubstr("CUDA backend not loaded"));
  EXPECT_THAT([&] { linear(place, v, v, v); }, unavailable);
  EXPECT_THAT([&] { rms_norm(place, v, a.rows_from(0, 1), 1e-5f, v); }, unavailable);
  EXPECT_THAT([&] { rope(place, v, 4, v.cols_from(0, 2), v.cols_from(0, 2)); }, unavailable);
  EXPECT_THAT([&] { attention(place, v, v, v, 4, v); }, unavailable);
  EXPECT_THAT([&] { swiglu(place, v, v, v); }, unavailable);
}

}  // namespace
}  // namespace bitgrid
