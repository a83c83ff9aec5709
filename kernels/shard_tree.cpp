#include "kernels/shard_tree.hpp"

#include <algorithm>

#include "kernels/error.hpp"

namespace bitgrid {

ShardRange shard_windows(std::int64_t windows, std::int64_t shards, std::int64_t shard) {
  BITGRID_ASSERT(shards > 0 && shard >= 0 && shard < shards);
  const std::int64_t first = shard * windows / shards;
  return {first, (shard + 1) * windows / shards - first};
}

ShardRange replica_shards(std::int64_t shards, std::int64_t replicas, std::int64_t replica) {
  return shard_windows(shards, replicas, replica);
}

ShardRange replica_windows(std::int64_t windows, std::int64_t shards, std::int64_t replicas,
                           std::int64_t replica) {
  const ShardRange own = replica_shards(shards, replicas, replica);
  if (own.count == 0) return {own.first * windows / shards, 0};
  const std::int64_t first = shard_windows(windows, shards, own.first).first;
  return {first, shard_windows(windows, shards, own.end() - 1).end() - first};
}

ShardNode shard_tree_root(std::int64_t shards) {
  BITGRID_ASSERT(shards > 0);
  int level = 0;
  while ((std::int64_t{1} << level) < shards) ++level;
  return {level, 0};
}

ShardRange shard_node_range(ShardNode node, std::int64_t shards) {
  const std::int64_t first = node.index << node.level;
  const std::int64_t end = std::min((node.index + 1) << node.level, shards);
  return {first, std::max<std::int64_t>(0, end - first)};
}

std::vector<ShardNode> shard_subtrees(ShardRange range, std::int64_t shards) {
  std::vector<ShardNode> nodes;
  std::int64_t at = range.first;
  while (at < range.end()) {
    ShardNode node{0, at};
    while (node.level < shard_tree_root(shards).level && node.index % 2 == 0) {
      const ShardNode parent{node.level + 1, node.index / 2};
      const ShardRange covered = shard_node_range(parent, shards);
      if (covered.end() > range.end()) break;
      node = parent;
    }
    nodes.push_back(node);
    at = shard_node_range(node, shards).end();
  }
  return nodes;
}

}  // namespace bitgrid
