#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "kernels/matrix.hpp"
#include "kernels/place.hpp"
#include "kernels/shard_tree.hpp"

namespace bitgrid {

// The windows of a calibration and their shards; the same for all ranks.
struct CalibrationLayout {
  std::int64_t windows = 0;
  std::int64_t length = 0;  // tokens per window
  std::int64_t shards = 1;
  std::int64_t tokens() const { return windows * length; }
  bool operator==(const CalibrationLayout&) const = default;
};

// The part of a sum over all windows that one node of the shard tree holds.
struct ShardPartial {
  ShardNode node;
  Matrix<double> sums;  // [1, n]; empty: the node has no windows
};

// One shard's sum [1, n], from its windows, of which there is at least one.
using ShardSum = std::function<Matrix<double>(ShardRange windows)>;

// Sums over the shards that a replica owns: one partial per node of shard_subtrees(own,
// layout.shards), in that order. Each shard is a sum of its own and shards are added in the tree's
// order, so a partial is the same bytes whatever the replicas and threads.
//   side_by_side: `leaf` is called from several threads at once, and one sum per shard is kept;
//   otherwise shards are summed one after the other and added as a binary counter counts: at most
//   log2(shards) + 1 sums are alive
std::vector<ShardPartial> sum_shards(const Place& place, const CalibrationLayout& layout,
                                     ShardRange own, bool side_by_side, const ShardSum& leaf);

}  // namespace bitgrid
