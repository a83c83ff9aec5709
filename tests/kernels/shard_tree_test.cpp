#include "kernels/shard_tree.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace bitgrid {
namespace {

const std::int64_t kShardCounts[] = {1, 2, 3, 5, 7, 8, 16, 17, 100};

std::vector<std::int64_t> listed(ShardRange range) {
  std::vector<std::int64_t> items;
  for (std::int64_t i = range.first; i < range.end(); ++i) items.push_back(i);
  return items;
}

TEST(ShardTree, WindowsAreSplitAsTheDesignSays) {
  EXPECT_EQ(shard_windows(128, 16, 0), (ShardRange{0, 8}));
  EXPECT_EQ(shard_windows(128, 16, 15), (ShardRange{120, 8}));
  // floor(j·5/3): 0, 1, 3, 5
  EXPECT_EQ(shard_windows(5, 3, 0), (ShardRange{0, 1}));
  EXPECT_EQ(shard_windows(5, 3, 1), (ShardRange{1, 2}));
  EXPECT_EQ(shard_windows(5, 3, 2), (ShardRange{3, 2}));
  // Fewer windows than shards leave some empty.
  EXPECT_EQ(shard_windows(1, 3, 0).count, 0);
  EXPECT_EQ(shard_windows(1, 3, 2), (ShardRange{0, 1}));
}

TEST(ShardTree, EveryWindowHasOneShardAndOneReplica) {
  for (const std::int64_t windows : {0, 1, 3, 16, 129}) {
    for (const std::int64_t shards : kShardCounts) {
      for (std::int64_t replicas = 1; replicas <= 20; ++replicas) {
        std::int64_t next_window = 0;
        std::int64_t next_shard = 0;
        for (std::int64_t d = 0; d < replicas; ++d) {
          const ShardRange own = replica_shards(shards, replicas, d);
          EXPECT_EQ(own.first, next_shard);
          next_shard = own.end();
          std::vector<std::int64_t> expected;
          for (const std::int64_t s : listed(own)) {
            for (const std::int64_t w : listed(shard_windows(windows, shards, s))) {
              expected.push_back(w);
            }
          }
          const ShardRange got = replica_windows(windows, shards, replicas, d);
          EXPECT_EQ(listed(got), expected);
          if (got.count > 0) {
            EXPECT_EQ(got.first, next_window);
          }
          next_window += got.count;
        }
        EXPECT_EQ(next_shard, shards);
        EXPECT_EQ(next_window, windows);
      }
    }
  }
}

TEST(ShardTree, TheRootCoversAllShardsAndNoLowerNodeDoes) {
  for (const std::int64_t shards : kShardCounts) {
    const ShardNode root = shard_tree_root(shards);
    EXPECT_EQ(shard_node_range(root, shards), (ShardRange{0, shards}));
    if (root.level > 0) {
      EXPECT_LT(shard_node_range({root.level - 1, 0}, shards).count, shards);
    }
  }
}

TEST(ShardTree, NodesBeyondTheShardsAreEmpty) {
  EXPECT_EQ(shard_node_range({0, 5}, 5).count, 0);
  EXPECT_EQ(shard_node_range({1, 3}, 5).count, 0);
  EXPECT_EQ(shard_node_range({1, 2}, 5), (ShardRange{4, 1}));
  EXPECT_EQ(shard_node_range({2, 1}, 5), (ShardRange{4, 1}));
}

TEST(ShardTree, SubtreesOfAKnownRange) {
  // Shards 1 … 15 of 16, as a binary counter would split them.
  const std::vector<ShardNode> expected{{0, 1}, {1, 1}, {2, 1}, {3, 1}};
  EXPECT_EQ(shard_subtrees({1, 15}, 16), expected);
  // All of them, and the lone last of five, which is a subtree up to just below the root.
  EXPECT_EQ(shard_subtrees({0, 16}, 16), std::vector<ShardNode>({{4, 0}}));
  EXPECT_EQ(shard_subtrees({4, 1}, 5), std::vector<ShardNode>({{2, 1}}));
  EXPECT_TRUE(shard_subtrees({3, 0}, 5).empty());
}

TEST(ShardTree, SubtreesTileTheirRangeAndAreTheLargest) {
  for (const std::int64_t shards : kShardCounts) {
    for (std::int64_t first = 0; first < shards; ++first) {
      for (std::int64_t count = 0; first + count <= shards; ++count) {
        const ShardRange range{first, count};
        std::int64_t next = first;
        for (const ShardNode node : shard_subtrees(range, shards)) {
          const ShardRange covered = shard_node_range(node, shards);
          EXPECT_EQ(covered.first, next);
          EXPECT_GT(covered.count, 0);
          next = covered.end();
          if (node == shard_tree_root(shards)) continue;
          // The parent would stick out of the range.
          const ShardRange parent = shard_node_range({node.level + 1, node.index / 2}, shards);
          EXPECT_TRUE(parent.first < range.first || parent.end() > range.end());
        }
        EXPECT_EQ(next, range.end());
      }
    }
  }
}

}  // namespace
}  // namespace bitgrid
