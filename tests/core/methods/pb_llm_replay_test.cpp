#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "core/methods/pb_llm.hpp"
#include "core/methods/resolve_recipe.hpp"
#include "core/methods/stored_arrays.hpp"
#include "tests/core/methods/solo_work.hpp"
#include "tests/oracle/binary.hpp"
#include "tests/oracle/quantization.hpp"
#include "tests/oracle/random.hpp"
#include "tests/tolerance.hpp"

// PB-LLM from weights and inputs to stored arrays, replayed in fp64 by plain loops. Decisions of
// the column loop feed on each other, so that one near tie that fp32 decides the other way changes
// all that follows: the replay checks every decision within a bound on fp32's errors, then follows
// it.
namespace bitgrid::test {
namespace {

struct Stored {
  Matrix<std::uint8_t> binary, zeros;
  Matrix<float> means, deviations, scales;
};

Stored stored_of(const QuantizedLinear& linear, std::int64_t groups) {
  return {read_packed(linear, "binary", linear.rows, linear.cols, 1),
          read_packed(linear, "zeros", linear.rows, 1, 8),
          read_halves(linear, "means", linear.rows, groups),
          read_halves(linear, "deviations", linear.rows, groups),
          read_halves(linear, "scales", linear.rows, 1)};
}

// The ⌊m·low_frac⌋ smallest (w/U_jj)² of each scope are binary; of those within fp32's rounding of
// the cut any may be.
void check_mask(const Stored& s, const Matrix<float>& w, const Square& u, std::int64_t scope,
                double low_frac) {
  for (std::int64_t first = 0; first < w.cols(); first += scope) {
    const std::int64_t end = std::min(w.cols(), first + scope);
    std::vector<double> all;
    std::int64_t binary = 0;
    const auto salience = [&](std::int64_t r, std::int64_t j) {
      return std::pow(w(r, j) / u(j, j), 2);
    };
    for (std::int64_t r = 0; r < w.rows(); ++r)
      for (std::int64_t j = first; j < end; ++j) {
        all.push_back(salience(r, j));
        binary += s.binary(r, j);
      }
    const auto count = static_cast<std::int64_t>(static_cast<double>(all.size()) * low_frac);
    ASSERT_EQ(binary, count);
    std::sort(all.begin(), all.end());
    const double cut = all[static_cast<std::size_t>(count - 1)];
    for (std::int64_t r = 0; r < w.rows(); ++r)
      for (std::int64_t j = first; j < end; ++j) {
        const double off = (salience(r, j) / cut - 1) * (s.binary(r, j) ? 1 : -1);
        ASSERT_LE(off, 8 * kRoundF32) << r << " " << j;
      }
  }
}

// Means and deviations of the original weights, the row's grid, and its zero from the scale before
// it was rounded.
void check_parameters(const Stored& s, const Matrix<float>& w, std::int64_t r, std::int64_t group) {
  double lo = 0, hi = 0;
  for (std::int64_t j = 0; j < w.cols(); ++j) {
    lo = std::min(lo, static_cast<double>(w(r, j)));
    hi = std::max(hi, static_cast<double>(w(r, j)));
  }
  EXPECT_NEAR(s.scales(r, 0), (hi - lo) / 255, 1.01 * kRoundF16 * (hi - lo) / 255);
  EXPECT_NEAR(s.zeros(r, 0), -lo / ((hi - lo) / 255), 0.5 + 255 * 4 * kRoundF32);
  for (std::int64_t g = 0; g < s.means.cols(); ++g) {
    Values values;
    for (std::int64_t j = g * group; j < std::min(w.cols(), (g + 1) * group); ++j)
      if (s.binary(r, j)) values.push_back(w(r, j));
    const auto count = static_cast<double>(values.size());
    ASSERT_GT(count, 0);
    const double mean = std::accumulate(values.begin(), values.end(), 0.0) / count;
    double distance = 0;
    for (const double v : values) distance += std::fabs(v - mean);
    EXPECT_NEAR(s.means(r, g), mean, 1.01 * kRoundF16 * std::fabs(mean) + 0x1p-25);
    EXPECT_NEAR(s.deviations(r, g), distance / count, 1.01 * kRoundF16 * distance / count);
  }
}

// One row through its columns. Of w_j = w − Σ_p e_p·U_pj, fp32 makes at most bound_j of error: that
// of the sum itself, and through every e_p those of w_p and U.
struct Replay {
  const Square& u;
  std::int64_t group;
  double loss = 0;
  std::int64_t decisions = 0, near_ties = 0;

  void row(const Stored& s, const Matrix<float>& w, MatrixView<const float> value, std::int64_t r) {
    const auto in = static_cast<std::size_t>(w.cols());
    std::vector<double> e(in), bound(in);
    for (std::int64_t j = 0; j < w.cols(); ++j) {
      const auto at = static_cast<std::size_t>(j);
      double now = w(r, j), moved = std::fabs(now), inherited = 0;
      for (std::int64_t p = 0; p < j; ++p) {
        const auto from = static_cast<std::size_t>(p);
        now -= e[from] * u(p, j);
        moved += std::fabs(e[from] * u(p, j));
        inherited += bound[from] / u(p, p) * std::fabs(u(p, j));
      }
      bound[at] = dot_tolerance(j + 4, moved) + inherited;
      const double q = value(r, j);
      const double beyond =
          s.binary(r, j) ? sign_error(s.means(r, j / group), s.deviations(r, j / group), now, q)
                         : code_error(s.scales(r, 0), s.zeros(r, 0), now, q);
      ++decisions;
      near_ties += beyond > 0;
      ASSERT_LE(beyond, bound[at]) << "row " << r << ", column " << j;
      e[at] = (now - q) / u(j, j);
      loss += 0.5 * e[at] * e[at];
    }
  }

  // How far a weight would have to move for the stored value to be what it becomes.
  static double sign_error(double mean, double deviation, double w, double q) {
    const bool positive = q > mean;
    EXPECT_NEAR(q, positive ? mean + deviation : mean - deviation, 2 * kRoundF32 * std::fabs(q));
    return positive ? mean - w : w - mean;
  }
  static double code_error(double scale, double zero, double w, double q) {
    const double code = std::nearbyint(q / scale + zero);
    EXPECT_NEAR(q, scale * (code - zero), 2 * kRoundF32 * std::fabs(q));
    const double below = scale * (code - 0.5 - zero), above = scale * (code + 0.5 - zero);
    return std::max(code > 0 ? below - w : 0, code < 255 ? w - above : 0);
  }
};

struct ReplayCase {
  std::int64_t rows, in, group;
  double bits;
};

class PbLlmReplay : public testing::TestWithParam<ReplayCase> {};

TEST_P(PbLlmReplay, FollowsThePlainLoopInDoubles) {
  const ReplayCase c = GetParam();
  Random random(21);
  const Matrix<float> x = random.activations(4 * c.in, c.in);
  const Matrix<float> w = random.normals(c.rows, c.in, 0.05);
  const Place place = cpu_place(2);
  const Recipe recipe = resolve_recipe("pb-llm", c.bits, c.group, {});
  const RoundedLinear rounded = round_linear(place, recipe, w.view(), x.view());
  Square h = gram_oracle(x.view());
  for (double& v : h.a) v *= 2 / static_cast<double>(x.rows());
  const Square u = inverse_factor_oracle(damped(h, 0.01));
  const std::int64_t group = c.group < 0 ? c.in : c.group;
  const Stored s = stored_of(rounded.stored, (c.in + group - 1) / group);
  check_mask(s, w, u, group, (8 - c.bits) / 7);
  Replay replay{u, group};
  for (std::int64_t r = 0; r < c.rows; ++r) {
    check_parameters(s, w, r, group);
    replay.row(s, w, rounded.weight.view(), r);
    if (HasFatalFailure()) return;
  }
  EXPECT_LE(replay.near_ties, 1 + replay.decisions / 1000);
  EXPECT_NEAR(rounded.stored.diagnostics.loss, replay.loss, 1e-5 * replay.loss);
}

// Less than a panel, panels with missing rows, and up to three blocks of 128 columns; of a thousand
// zeros some would be others if they came from the stored scales.
INSTANTIATE_TEST_SUITE_P(Shapes, PbLlmReplay,
                         testing::Values(ReplayCase{3, 24, 8, 2}, ReplayCase{1000, 16, 16, 2},
                                         ReplayCase{19, 128, 128, 2}, ReplayCase{33, 160, 32, 1.7},
                                         ReplayCase{37, 257, -1, 2}, ReplayCase{64, 384, 128, 2}));

}  // namespace
}  // namespace bitgrid::test
