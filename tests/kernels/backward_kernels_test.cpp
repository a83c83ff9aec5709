#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/attention_backward.hpp"
#include "kernels/linear_backward.hpp"
#include "kernels/rms_norm_backward.hpp"
#include "kernels/rope.hpp"
#include "kernels/swiglu_backward.hpp"
#include "tests/oracle/finite_differences.hpp"
#include "tests/oracle/llama_oracle.hpp"

namespace bitgrid {
namespace {
using oracle::fp32_tolerance;
using oracle::integer_matrix;
using oracle::random_matrix;
using oracle::relative_difference;
using oracle::Rows;
using oracle::same_bytes;
using oracle::slopes;
using oracle::widen;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr double kDifferenceError = 1e-7;  // of the finite differences themselves

class BackwardKernels : public testing::TestWithParam<int> {  // number of threads
 protected:
  Place place = cpu_place(GetParam());
};
INSTANTIATE_TEST_SUITE_P(Threads, BackwardKernels, testing::Values(1, 2, 5),
                         testing::PrintToStringParamName());

Rows transposed(const Rows& m) {
  Rows t(m[0].size(), oracle::Row(m.size()));
  for (std::size_t r = 0; r < m.size(); ++r)
    for (std::size_t c = 0; c < m[0].size(); ++c) t[c][r] = m[r][c];
  return t;
}

TEST_P(BackwardKernels, LinearIsExactOnWholeNumbers) {
  struct Shape {
    std::int64_t tokens, in, out;
  };
  for (const auto& [tokens, in, out] :
       {Shape{1, 1, 1}, Shape{3, 129, 5}, Shape{513, 3, 2}, Shape{1, 2049, 2}, Shape{5, 3, 513}}) {
    const Matrix<float> x = integer_matrix(tokens, in, 1), w = integer_matrix(out, in, 2),
                        dy = integer_matrix(tokens, out, 3);
    Matrix<float> dx(tokens, in), dw(out, in);
    dx.fill(kNaN);  // not read unless accumulating
    dw.fill(kNaN);
    linear_backward_input(place, dy.view(), w.view(), dx.view());
    linear_backward_weight(place, dy.view(), x.view(), dw.view());
    const Rows dx_expected = oracle::linear(widen(dy.view()), transposed(widen(w.view())));
    const Rows dw_expected =
        oracle::linear(transposed(widen(dy.view())), transposed(widen(x.view())));
    EXPECT_EQ(relative_difference(dx.view(), dx_expected), 0) << tokens << " " << in << " " << out;
    EXPECT_EQ(relative_difference(dw.view(), dw_expected), 0) << tokens << " " << in << " " << out;
    linear_backward_input(place, dy.view(), w.view(), dx.view(), Accumulate::yes);
    linear_backward_weight(place, dy.view(), x.view(), dw.view(), Accumulate::yes);
    EXPECT_EQ(relative_difference(dx.view(), oracle::add(dx_expected, dx_expected)), 0);
    EXPECT_EQ(relative_difference(dw.view(), oracle::add(dw_expected, dw_expected)), 0);
  }
}

TEST_P(BackwardKernels, SomeRowsOfAWeightGradientComeFromTheirColumns) {
  const Matrix<float> x = integer_matrix(7, 20, 1), dy = integer_matrix(7, 30, 2);
  Matrix<float> all(30, 20), some(5, 24);
  some.fill(-1.0f);
  linear_backward_weight(place, dy.view(), x.view(), all.view());
  linear_backward_weight(place, dy.view().cols_from(11, 5), x.view(), some.view().cols_from(2, 20));
  EXPECT_TRUE(same_bytes(some.view().cols_from(2, 20), all.rows_from(11, 5)));
  for (std::int64_t r = 0; r < 5; ++r)
    for (const std::int64_t c : {0, 1, 22, 23}) EXPECT_EQ(some(r, c), -1.0f);
}

TEST_P(BackwardKernels, RmsNormMatchesFiniteDifferences) {
  for (const std::int64_t hidden : {1, 3, 16, 129})
    for (const std::int64_t tokens : {1, 5}) {
      const Matrix<float> x = random_matrix(tokens, hidden, 4), w = random_matrix(1, hidden, 5),
                          dy = random_matrix(tokens, hidden, 6);
      const double epsilon = 0.25;  // large, so that its place matters
      Matrix<float> dx = random_matrix(tokens, hidden, 7);
      const Rows before = widen(dx.view());
      rms_norm_backward(place, x.view(), w.view(), static_cast<float>(epsilon), dy.view(),
                        dx.view());
      const auto loss = [&](const Rows& at) {
        return oracle::dot(oracle::rms_norm(at, widen(w.view())[0], epsilon), widen(dy.view()));
      };
      EXPECT_LE(relative_difference(dx.view(), oracle::add(before, slopes(loss, widen(x.view())))),
                kDifferenceError + fp32_tolerance(hidden, 2))
          << tokens << " " << hidden;
    }
}

TEST_P(BackwardKernels, SwigluMatchesFiniteDifferences) {
  for (const std::int64_t size : {1, 3, 16, 33}) {
    Matrix<float> gate = random_matrix(3, size, 8, 3), up = random_matrix(3, size, 9);
    const Matrix<float> dy = random_matrix(3, size, 10);
    gate(0, 0) = -200.0f;  // exp overflows; both gradients are 0
    gate(1, 0) = 200.0f;
    Matrix<float> dgate(3, size), dup(3, size);
    swiglu_backward(place, gate.view(), up.view(), dy.view(), dgate.view(), dup.view());
    const Rows wide_dy = widen(dy.view());
    const Rows gate_slopes = slopes(
        [&](const Rows& at) { return oracle::dot(oracle::swiglu(at, widen(up.view())), wide_dy); },
        widen(gate.view()));
    const Rows up_slopes = slopes(
        [&](const Rows& at) {
          return oracle::dot(oracle::swiglu(widen(gate.view()), at), wide_dy);
        },
        widen(up.view()));
    EXPECT_LE(relative_difference(dgate.view(), gate_slopes), kDifferenceError + fp32_tolerance(8));
    EXPECT_LE(relative_difference(dup.view(), up_slopes), kDifferenceError + fp32_tolerance(8));
    EXPECT_EQ(dgate(0, 0), 0.0f);
    swiglu_backward(place, gate.view(), up.view(), dy.view(), gate.view(), up.view());
    EXPECT_TRUE(same_bytes(gate.view(), dgate.view())) << "in place";
    EXPECT_TRUE(same_bytes(up.view(), dup.view())) << "in place";
  }
}

TEST_P(BackwardKernels, RopeBackwardIsTheTransposeAndUndoesRope) {
  constexpr std::int64_t tokens = 67;
  for (const std::int64_t size : {2, 6, 64}) {
    const Matrix<float> x = random_matrix(tokens, 3 * size, 11),
                        y = random_matrix(tokens, 3 * size, 12);
    Matrix<float> cos(tokens, size / 2), sin(tokens, size / 2);
    for (std::int64_t t = 0; t < tokens; ++t)
      for (std::int64_t j = 0; j < size / 2; ++j) {
        const double angle = static_cast<double>(t) * std::pow(1e4, -2.0 * static_cast<double>(j) /
                                                                        static_cast<double>(size));
        cos(t, j) = static_cast<float>(std::cos(angle));
        sin(t, j) = static_cast<float>(std::sin(angle));
      }
    Matrix<float> there = x.clone(), back = y.clone();
    rope(place, there.view(), size, cos.view(), sin.view());
    rope_backward(place, back.view(), size, cos.view(), sin.view());
    const double product = oracle::dot(widen(there.view()), widen(y.view()));
    EXPECT_NEAR(product, oracle::dot(widen(x.view()), widen(back.view())),
                1e-6 * oracle::norm(widen(x.view())) * oracle::norm(widen(y.view())));
    rope_backward(place, there.view(), size, cos.view(), sin.view());
    EXPECT_LE(relative_difference(there.view(), widen(x.view())), fp32_tolerance(4)) << size;
  }
}

struct Attention {
  Attention(std::int64_t tokens, std::int64_t heads, std::int64_t kv_heads, std::int64_t size)
      : heads(heads),
        kv_heads(kv_heads),
        size(size),
        q(random_matrix(tokens, heads * size, 13)),
        k(random_matrix(tokens, kv_heads * size, 14)),
        v(random_matrix(tokens, kv_heads * size, 15)),
        dy(random_matrix(tokens, heads * size, 16)),
        dq(tokens, heads * size),
        dk(tokens, kv_heads * size),
        dv(tokens, kv_heads * size) {
    for (Matrix<float>* m : {&dq, &dk, &dv}) m->fill(kNaN);
  }
  void backward(const Place& place) {
    attention_backward(place, q.view(), k.view(), v.view(), size, dy.view(), dq.view(), dk.view(),
                       dv.view());
  }
  // Of input `which` of q, k, v at `at`, the others as they are.
  double loss(int which, const Rows& at) const {
    Rows in[3] = {widen(q.view()), widen(k.view()), widen(v.view())};
    in[which] = at;
    return oracle::dot(oracle::attention(in[0], in[1], in[2], static_cast<std::size_t>(heads),
                                         static_cast<std::size_t>(kv_heads)),
                       widen(dy.view()));
  }

  std::int64_t heads, kv_heads, size;
  Matrix<float> q, k, v, dy, dq, dk, dv;
};

TEST_P(BackwardKernels, AttentionMatchesFiniteDifferences) {
  for (const std::int64_t tokens : {1, 3, 7})
    for (const std::int64_t kv_heads : {1, 2, 4}) {
      Attention a(tokens, 4, kv_heads, 3);
      a.backward(place);
      const Matrix<float>*in[] = {&a.q, &a.k, &a.v}, *out[] = {&a.dq, &a.dk, &a.dv};
      for (int i = 0; i < 3; ++i)
        EXPECT_LE(relative_difference(
                      out[i]->view(),
                      slopes([&](const Rows& at) { return a.loss(i, at); }, widen(in[i]->view()))),
                  kDifferenceError + fp32_tolerance(tokens, 4))
            << tokens << " tokens, " << kv_heads << " key heads, input " << i;
    }
}

// Beyond one block of queries: slopes along random directions, and along single elements on both
// sides of the seam.
TEST_P(BackwardKernels, AttentionMatchesDirectionalDifferencesAcrossBlocks) {
  Attention a(131, 2, 1, 6);
  a.backward(place);
  const Matrix<float>*in[] = {&a.q, &a.k, &a.v}, *out[] = {&a.dq, &a.dk, &a.dv};
  for (int i = 0; i < 3; ++i) {
    const Rows at = widen(in[i]->view()), gradient = widen(out[i]->view());
    const auto loss = [&](const Rows& moved) { return a.loss(i, moved); };
    for (unsigned seed = 1; seed <= 3; ++seed) {
      const Rows direction = oracle::random_rows(at, seed);
      EXPECT_NEAR(oracle::slope_along(loss, at, direction), oracle::dot(gradient, direction),
                  (1e-6 + fp32_tolerance(131, 4)) * oracle::norm(gradient))
          << "input " << i;
    }
    for (const std::size_t t : {0, 1, 127, 128, 130}) {
      Rows direction = oracle::random_rows(at, 9);
      for (std::size_t other = 0; other < at.size(); ++other)
        if (other != t) direction[other].assign(at[0].size(), 0.0);
      EXPECT_NEAR(oracle::slope_along(loss, at, direction), oracle::dot(gradient, direction), 2e-5)
          << "input " << i << ", token " << t;
    }
  }
}

TEST_P(BackwardKernels, ResultsDoNotDependOnThreads) {
  const Place one = cpu_place(1);
  Attention a(300, 4, 2, 12), b(300, 4, 2, 12);
  a.backward(one);
  b.backward(place);
  EXPECT_TRUE(same_bytes(a.dq.view(), b.dq.view()));
  EXPECT_TRUE(same_bytes(a.dk.view(), b.dk.view()));
  EXPECT_TRUE(same_bytes(a.dv.view(), b.dv.view()));
  const Matrix<float> x = random_matrix(700, 48, 17), dy = random_matrix(700, 2100, 18);
  Matrix<float> dwa(2100, 48), dwb(2100, 48), dxa(700, 48), dxb(700, 48);
  linear_backward_weight(one, dy.view(), x.view(), dwa.view());
  linear_backward_weight(place, dy.view(), x.view(), dwb.view());
  EXPECT_TRUE(same_bytes(dwa.view(), dwb.view()));
  linear_backward_input(one, dy.view(), dwa.view(), dxa.view());
  linear_backward_input(place, dy.view(), dwa.view(), dxb.view());
  EXPECT_TRUE(same_bytes(dxa.view(), dxb.view()));
}

TEST(BackwardKernelShapes, AreChecked) {
  const Place place = cpu_place(1);
  Matrix<float> a(3, 4), b(3, 5), c(1, 4), d(5, 4);
  const auto A = a.view(), B = b.view(), C = c.view(), D = d.view();
  EXPECT_THROW(linear_backward_input(place, A, D, A), Error);
  EXPECT_THROW(linear_backward_input(place, B, D, B), Error);
  EXPECT_THROW(linear_backward_weight(place, B, C, D), Error);
  EXPECT_THROW(linear_backward_weight(place, A, A, D), Error);
  EXPECT_THROW(rms_norm_backward(place, A, C, 1e-5f, B, A), Error);
  EXPECT_THROW(rms_norm_backward(place, A, C, 1e-5f, A, B), Error);
  EXPECT_THROW(rms_norm_backward(place, A, A, 1e-5f, A, A), Error);
  EXPECT_THROW(swiglu_backward(place, A, A, A, A, B), Error);
  EXPECT_THROW(swiglu_backward(place, A, A, B, A, A), Error);
  EXPECT_THROW(rope_backward(place, B, 5, B, B), Error);
  EXPECT_THROW(rope_backward(place, A, 4, A, A), Error);
  EXPECT_THROW(attention_backward(place, A, A, A, 3, A, A, A, A), Error);
  EXPECT_THROW(attention_backward(place, A, C, C, 4, A, A, C, C), Error);
  EXPECT_THROW(attention_backward(place, A, A, A, 4, A, A, A, B), Error);
  EXPECT_THROW(attention_backward(place, A, A, A, 4, B, A, A, A), Error);
}

TEST(BackwardKernelDevices, CudaSaysThatItIsNotThere) {
  Place place;
  place.device = Device::cuda;
  Matrix<float> a(4, 4);
  a.fill(0.0f);
  const auto v = a.view();
  const auto unavailable =
      testing::ThrowsMessage<Error>(testing::HasSubstr("CUDA backend not loaded"));
  EXPECT_THAT([&] { linear_backward_input(place, v, v, v); }, unavailable);
  EXPECT_THAT([&] { linear_backward_weight(place, v, v, v); }, unavailable);
  EXPECT_THAT([&] { rms_norm_backward(place, v, a.rows_from(0, 1), 1e-5f, v, v); }, unavailable);
  EXPECT_THAT([&] { swiglu_backward(place, v, v, v, v, v); }, unavailable);
  EXPECT_THAT([&] { rope_backward(place, v, 4, v.cols_from(0, 2), v.cols_from(0, 2)); },
              unavailable);
  EXPECT_THAT([&] { attention_backward(place, v, v, v, 4, v, v, v, v); }, unavailable);
}

}  // namespace
}  // namespace bitgrid
