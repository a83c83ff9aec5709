#pragma once

#include <cstdint>
#include <vector>

namespace bitgrid {

// Windows are cut into a fixed number of shards, and sums over shards are taken in one fixed binary
// tree, whatever ranks and threads there are: floating-point sums then are the same bytes
// everywhere.
//
// Node (level, index) covers the shards [index·2^level, min((index+1)·2^level, shards)); level 0
// are the shards themselves. Its value is left child + right child, in that order; a missing or
// empty child passes the other through.
struct ShardNode {
  int level = 0;
  std::int64_t index = 0;
  bool operator==(const ShardNode&) const = default;
};

struct ShardRange {  // first … first + count − 1
  std::int64_t first = 0;
  std::int64_t count = 0;
  std::int64_t end() const { return first + count; }
  bool operator==(const ShardRange&) const = default;
};

// Windows of shard j out of n windows: floor(j·n/shards) … floor((j+1)·n/shards) − 1. May be empty.
ShardRange shard_windows(std::int64_t windows, std::int64_t shards, std::int64_t shard);
// Shards of replica d of D: floor(d·shards/D) … floor((d+1)·shards/D) − 1.
ShardRange replica_shards(std::int64_t shards, std::int64_t replicas, std::int64_t replica);
// The windows of all shards of a replica; contiguous.
ShardRange replica_windows(std::int64_t windows, std::int64_t shards, std::int64_t replicas,
                           std::int64_t replica);

ShardNode shard_tree_root(std::int64_t shards);
ShardRange shard_node_range(ShardNode node, std::int64_t shards);
// The largest complete subtrees inside a range of shards, left to right: what one replica sums
// without asking anybody. Complete: either inside the range as a whole, or cut short by the end of
// all shards.
std::vector<ShardNode> shard_subtrees(ShardRange range, std::int64_t shards);

}  // namespace bitgrid
