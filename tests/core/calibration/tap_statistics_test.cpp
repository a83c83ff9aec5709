#include "core/calibration/tap_statistics.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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
Matrix<float> reduce(const std::map<NodeKey, const Matrix<float>*>& parts, ShardNode node,
                     std::int64_t shards) {
  if (shard_node_range(node, shards).count == 0) return {};
  if (const auto found = parts.find({node.level, node.index}); found != parts.end())
    return found->second->clone();
  if (node.level == 0) return {};
  Matrix<float> left = reduce(parts, {node.level - 1, 2 * node.index}, shards);
  const Matrix<float> right = reduce(parts, {node.level - 1, 2 * node.index + 1}, shards);
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

Matrix<float> sum_over_replicas(const Calibration& c, std::int64_t replicas, int threads) {
  std::vector<std::vector<GramPartial>> all;
  for (std::int64_t d = 0; d < replicas; ++d)
    all.push_back(sum_gram_shards(cpu_place(threads), c.layout,
                                  replica_shards(c.layout.shards, replicas, d), c.x.cols(),
                                  c.tap()));
  std::map<NodeKey, const Matrix<float>*> parts;
  for (const auto& partials : all)
    for (const GramPartial& p : partials) parts[{p.node.level, p.node.index}] = &p.packed;
  return reduce(parts, shard_tree_root(c.layout.shards), c.layout.shards);
}

struct Sizes {
  std::int64_t windows, length, shards, in;
};
class GramShards : public testing::TestWithParam<Sizes> {};

TEST_P(GramShards, AreTheSameBytesForAnyReplicasAndThreads) {
  const Sizes s = GetParam();
  const Calibration c{{s.windows, s.length, s.shards},
                      Random(1).normals(s.windows * s.length, s.in)};
  const Matrix<float> one = sum_over_replicas(c, 1, 1);
  ASSERT_EQ(one.size(), packed_triangle_size(s.in));
  for (std::int64_t replicas = 1; replicas <= std::min<std::int64_t>(5, s.shards); ++replicas)
    for (const int threads : {1, 2}) {
      const Matrix<float> sum = sum_over_replicas(c, replicas, threads);
      ASSERT_EQ(sum.size(), one.size());
      EXPECT_EQ(
          std::memcmp(sum.data(), one.data(), static_cast<std::size_t>(one.size()) * sizeof(float)),
          0)
          << replicas << " replicas, " << threads << " threads";
    }
}

TEST_P(GramShards, AreExactOnSmallIntegers) {
  const Sizes s = GetParam();
  Calibration c{{s.windows, s.length, s.shards}, Matrix<float>(s.windows * s.length, s.in)};
  Random random(2);
  for (std::int64_t i = 0; i < c.x.size(); ++i)
    c.x.data()[i] = static_cast<float>(random.below(9) - 4);
  const Square oracle = gram_oracle(c.x.view());
  for (const std::int64_t replicas : {1, 2}) {
    if (replicas > s.shards) continue;
    const Matrix<float> packed = sum_over_replicas(c, replicas, 2);
    const Matrix<float> sum = unpack_gram(cpu_place(1), packed.data(), s.in);
    for (std::int64_t i = 0; i < s.in; ++i)
      for (std::int64_t j = 0; j < s.in; ++j) ASSERT_EQ(sum(i, j), j <= i ? oracle(i, j) : 0.0);
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, GramShards,
                         testing::Values(Sizes{16, 3, 16, 5}, Sizes{7, 4, 5, 33},
                                         Sizes{3, 8, 8, 17}, Sizes{1, 5, 16, 1},
                                         Sizes{9, 2, 6, 530}, Sizes{5, 3, 1, 40}));

TEST(GramShards, LeavesOutShardsWithoutWindows) {
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
    for (const GramPartial& p :
         sum_gram_shards(cpu_place(2), c.layout, replica_shards(8, 8, d), 6, counted))
      empty += p.packed.empty();
  EXPECT_EQ(empty, 6);
  EXPECT_EQ(calls, 2);
  EXPECT_TRUE(sum_gram_shards(cpu_place(1), c.layout, {3, 0}, 6, counted).empty());
}

TEST(GramShards, NameTheActivationThatIsNotFinite) {
  for (const std::int64_t in : {10L, 520L}) {
    Calibration c{{12, 5, 4}, Random(4).normals(60, in)};
    c.x(5 * 7 + 3, 8) = std::nanf("");
    c.x(5 * 11, 0) = HUGE_VALF;
    for (const ShardRange own : {ShardRange{0, 4}, ShardRange{2, 2}}) try {
        sum_gram_shards(cpu_place(2), c.layout, own, in, c.tap());
        FAIL() << "expected an Error";
      } catch (const Error& e) {
        EXPECT_THAT(e.what(),
                    testing::HasSubstr("non-finite activation (nan) in window 7, token 3, "
                                       "channel 8"));
      }
    EXPECT_NO_THROW(sum_gram_shards(cpu_place(2), c.layout, {0, 2}, in, c.tap()));
  }
}

TEST(GramShards, RefuseATapOfAnotherShape) {
  const Calibration c{{4, 4, 2}, Random(5).normals(16, 6)};
  EXPECT_THROW(sum_gram_shards(cpu_place(1), c.layout, {0, 2}, 7, c.tap()), Error);
}

}  // namespace
}  // namespace bitgrid::test
