#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "dist/comm.hpp"
#include "kernels/shard_tree.hpp"

namespace bitgrid::dist {

// A replica's partial sums: one per node of shard_subtrees(own range), in that order; all of the same length.
// A node whose shards are all empty (no windows) may be left out by giving an empty span: it passes its sibling through.
struct PartialSum {
  ShardNode node;
  std::span<float> values;  // overwritten on the way up
};

// Collective over the replicas of a stage: adds the partial sums in the one fixed tree of kernels/shard_tree.hpp, so the
// bytes do not depend on how many replicas there are. On return `result` holds the sum on rank `owner` (elsewhere it may
// be empty). If every shard is empty, result is all zeros.
void tree_reduce_sum(const Comm& replicas, std::int64_t shards, std::vector<PartialSum> partials,
                     std::span<float> result, int owner);

}  // namespace bitgrid::dist
