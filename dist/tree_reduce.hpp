#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "dist/comm.hpp"
#include "kernels/shard_tree.hpp"

namespace bitgrid::dist {

// A replica's partial sums: one per node of shard_subtrees(own range), in that order; all of the
// same length. A node whose shards are all empty (no windows) may be left out by giving an empty
// span: it passes its sibling through.
struct PartialSum {
  ShardNode node;
  std::span<double> values;  // overwritten on the way up
};

// Collective over the replicas of a stage: adds the partial sums in the one fixed tree of
// kernels/shard_tree.hpp, so the bytes do not depend on how many replicas there are. On return
// `result` holds the sum on rank `owner` (elsewhere it may be empty). If every shard is empty,
// result is all zeros. If the lengths do not fit together, an Error on every rank.
void tree_reduce_sum(const Comm& replicas, std::int64_t shards, std::vector<PartialSum> partials,
                     std::span<double> result, int owner);

// What one rank does for that, in this order, for each piece of the vectors. A slot is an index
// into the rank's partial sums.
struct TreeStep {
  enum class Kind {
    add,             // slot += other_slot; slot holds the left child
    send,            // slot goes to peer
    receive_left,    // slot = received + slot
    receive_right,   // slot += received
    keep_result,     // result = slot
    receive_result,  // result = received
    zero_result,
  };
  Kind kind = Kind::add;
  int slot = -1;
  int other_slot = -1;
  int peer = -1;
  bool operator==(const TreeStep&) const = default;
};

// filled[r][i]: whether partial sum i of rank r has values. The same on all ranks, so that every
// message has its receive, in the same order.
std::vector<TreeStep> tree_steps(std::int64_t shards, const std::vector<std::vector<bool>>& filled,
                                 int rank, int owner);

}  // namespace bitgrid::dist
