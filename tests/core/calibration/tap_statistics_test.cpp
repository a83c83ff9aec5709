#include "core/calibration/tap_statistics.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <mutex>
#include <utility>

#include "kernels/error.hpp"
#include "kernels/triangle.hpp"
#include "tests/oracle/linear_algebra.hpp"
#include "tests/oracle/random.hpp"

namespace bitgrid::test {
namespace {

using NodeKey = std::pair<int, std::int64_t>;

// Adds partials of all replicas up the tree, as the reduction over ranks does.
Matrix<double> reduce(const std::map<NodeKey, const Matrix<double>*>& parts, ShardNode node,
                      std::int64_t shards) {
  if (shard_node_range(node, shards).count == 0) return {};
  if (const auto found = parts.find({node.level, node.index}); found != parts.end())
    return found->second->clone();
  if (node.level == 0) return {};
  Matrix<double> left = reduce(parts, {node.level - 1, 2 * node.index}, shards);
  const Matrix<double> right = reduce(parts, {node.level - 1, 2 * node.index + 1}, shards);
  if (left.empty()) return right.clone();
  for (std::int64_t i = 0; i < right.size(); ++i) left.data()[i] += right.data()[i];
  return left;
}

struct Calibration {
  CalibrationLayout layout;
  Matrix<float> x;  // [windows · length, in]
  TapOfWindows tap() const {
    return [this](ShardRange w) {
      return x.rows_from(w.first * layout.length, w.count * layout.length);
    };
  }
};

constexpr StatisticsNeeds kGram = {.gram = true};

struct Sum {
  Matrix<double> sums;
  std::vector<float> abs_max;
};

Sum sum_over_replicas(const Calibration& c, std::int64_t replicas, int threads,
                      const StatisticsNeeds& needs = kGram) {
  std::vector<TapPartials> all;
  for (std::int64_t d = 0; d < replicas; ++d)
    all.push_back(sum_tap(cpu_place(threads), c.layout,
                          replica_shards(c.layout.shards, replicas, d), c.x.cols(), needs,
                          c.tap()));
  std::map<NodeKey, const Matrix<double>*> parts;
  Sum sum;
  for (const TapPartials& partials : all) {
    for (const ShardPartial& p : partials.sums) parts[{p.node.level, p.node.index}] = &p.sums;
    sum.abs_max.resize(partials.abs_max.size());
    for (std::size_t j = 0; j < sum.abs_max.size(); ++j)
      sum.abs_max[j] = std::max(sum.abs_max[j], partials.abs_max[j]);
  }
  sum.sums = reduce(parts, shard_tree_root(c.layout.shards), c.layout.shards);
  return sum;
}

Statistics statistics_of(const Calibration& c, const StatisticsNeeds& needs,
                         std::int64_t replicas) {
  Sum sum = sum_over_replicas(c, replicas, 2, needs);
  return unpack_statistics(cpu_place(1), c.layout, needs, c.x.cols(),
                           {sum.sums.data(), static_cast<std::size_t>(sum.sums.size())},
                           std::move(sum.abs_max));
}

struct Sizes {
  std::int64_t windows, length, shards, in;
};
class TapStatistics : public testing::TestWithParam<Sizes> {};

TEST_P(TapStatistics, AreTheSameBytesForAnyReplicasAndThreads) {
  const Sizes s = GetParam();
  const Calibration c{{s.windows, s.length, s.shards},
                      Random(1).normals(s.windows * s.length, s.in)};
  constexpr StatisticsNeeds kAll = {.gram = true, .sampled_gram = true, .channels = true};
  const Sum first = sum_over_replicas(c, 1, 1, kAll);
  const Matrix<double>& one = first.sums;
  ASSERT_EQ(one.size(), 2 * packed_triangle_size(s.in) + s.in);
  for (std::int64_t replicas = 1; replicas <= std::min<std::int64_t>(5, s.shards); ++replicas)
    for (const int threads : {1, 2}) {
      const Sum sum = sum_over_replicas(c, replicas, threads, kAll);
      ASSERT_EQ(sum.sums.size(), one.size());
      EXPECT_EQ(std::memcmp(sum.sums.data(), one.data(),
                            static_cast<std::size_t>(one.size()) * sizeof(double)),
                0)
          << replicas << " replicas, " << threads << " threads";
      EXPECT_EQ(sum.abs_max, first.abs_max);
    }
}

TEST_P(TapStatistics, AreExactOnSmallIntegers) {
  const Sizes s = GetParam();
  Calibration c{{s.windows, s.length, s.shards}, Matrix<float>(s.windows * s.length, s.in)};
  Random random(2);
  for (std::int64_t i = 0; i < c.x.size(); ++i)
    c.x.data()[i] = static_cast<float>(random.below(9) - 4);
  const Square oracle = gram_oracle(c.x.view());
  for (const std::int64_t replicas : {1, 2}) {
    if (replicas > s.shards) continue;
    const Statistics statistics = statistics_of(c, kGram, replicas);
    const Matrix<double>& sum = statistics.gram;
    EXPECT_EQ(statistics.tokens, s.windows * s.length);
    EXPECT_TRUE(statistics.abs_sum.empty() && statistics.abs_max.empty());
    for (std::int64_t i = 0; i < s.in; ++i)
      for (std::int64_t j = 0; j < s.in; ++j) ASSERT_EQ(sum(i, j), j <= i ? oracle(i, j) : 0.0);
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, TapStatistics,
                         testing::Values(Sizes{16, 3, 16, 5}, Sizes{7, 4, 5, 33},
                                         Sizes{3, 8, 8, 17}, Sizes{1, 5, 16, 1},
                                         Sizes{9, 2, 6, 530}, Sizes{5, 3, 1, 40}));

// Against plain loops: the sample is every stride-th token of all windows end to end, wherever the
// windows and shards begin.
TEST(TapSums, MatchPlainLoops) {
  const std::int64_t in = 7;
  for (const std::int64_t length : {3L, 259L}) {
    const Calibration c{{5, length, 4}, Random(6).normals(5 * length, in)};
    constexpr StatisticsNeeds kAll = {.gram = true, .sampled_gram = true, .channels = true};
    const Statistics s = statistics_of(c, kAll, 3);
    const std::int64_t stride = length == 3 ? 1 : 2;
    ASSERT_EQ(sample_stride(5 * length), stride);
    Matrix<double> sample(in, in);
    sample.fill(0);
    std::int64_t sampled = 0;
    std::vector<double> abs_sum(in, 0);
    std::vector<float> abs_max(in, 0);
    for (std::int64_t t = 0; t < c.x.rows(); ++t) {
      for (std::int64_t j = 0; j < in; ++j) {
        abs_sum[static_cast<std::size_t>(j)] += std::fabs(static_cast<double>(c.x(t, j)));
        abs_max[static_cast<std::size_t>(j)] =
            std::max(abs_max[static_cast<std::size_t>(j)], std::fabs(c.x(t, j)));
      }
      if (t % stride != 0) continue;
      ++sampled;
      for (std::int64_t i = 0; i < in; ++i)
        for (std::int64_t j = 0; j < in; ++j)
          sample(i, j) += static_cast<double>(c.x(t, i)) * static_cast<double>(c.x(t, j));
    }
    EXPECT_EQ(s.sampled_tokens, sampled);
    EXPECT_EQ(s.abs_max, abs_max);
    for (std::int64_t i = 0; i < in; ++i) {
      EXPECT_NEAR(s.abs_sum[static_cast<std::size_t>(i)], abs_sum[static_cast<std::size_t>(i)],
                  1e-9);
      for (std::int64_t j = 0; j <= i; ++j) EXPECT_NEAR(s.sampled_gram(i, j), sample(i, j), 1e-9);
    }
  }
}

TEST(TapSums, LeavesOutShardsWithoutWindows) {
  const Calibration c{{2, 4, 8}, Random(3).normals(8, 6)};
  int empty = 0;
  std::mutex mutex;
  int calls = 0;
  const auto counted = [&](ShardRange w) {
    EXPECT_EQ(w.count, 1);
    const std::lock_guard lock(mutex);
    ++calls;
    return c.tap()(w);
  };
  for (std::int64_t d = 0; d < 8; ++d)
    for (const ShardPartial& p :
         sum_tap(cpu_place(2), c.layout, replica_shards(8, 8, d), 6, kGram, counted).sums)
      empty += p.sums.empty();
  EXPECT_EQ(empty, 6);
  EXPECT_EQ(calls, 2);
  EXPECT_TRUE(sum_tap(cpu_place(1), c.layout, {3, 0}, 6, kGram, counted).sums.empty());
}

TEST(TapSums, NameTheActivationThatIsNotFinite) {
  for (const std::int64_t in : {10L, 520L}) {
    Calibration c{{12, 5, 4}, Random(4).normals(60, in)};
    c.x(5 * 7 + 3, 8) = std::nanf("");
    c.x(5 * 11, 0) = HUGE_VALF;
    for (const ShardRange own : {ShardRange{0, 4}, ShardRange{2, 2}}) try {
        sum_tap(cpu_place(2), c.layout, own, in, kGram, c.tap());
        FAIL() << "expected an Error";
      } catch (const Error& e) {
        EXPECT_THAT(e.what(),
                    testing::HasSubstr("non-finite activation (nan) in window 7, token 3, "
                                       "channel 8"));
      }
    EXPECT_NO_THROW(sum_tap(cpu_place(2), c.layout, {0, 2}, in, kGram, c.tap()));
  }
}

TEST(TapSums, RefuseATapOfAnotherShape) {
  const Calibration c{{4, 4, 2}, Random(5).normals(16, 6)};
  EXPECT_THROW(sum_tap(cpu_place(1), c.layout, {0, 2}, 7, kGram, c.tap()), Error);
}

}  // namespace
}  // namespace bitgrid::test
