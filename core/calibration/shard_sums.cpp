#include "core/calibration/shard_sums.hpp"

#include <span>
#include <utility>

#include "kernels/error.hpp"
#include "kernels/parallel.hpp"
#include "kernels/triangle.hpp"

namespace bitgrid {
namespace {

std::span<double> values_of(Matrix<double>& sums) {
  return {sums.data(), static_cast<std::size_t>(sums.size())};
}

class Tree {
 public:
  Tree(const Place& place, const CalibrationLayout& layout, ShardRange own, bool side_by_side,
       const ShardSum& leaf)
      : place_(place), layout_(layout), own_(own), leaf_(leaf) {
    if (!side_by_side) return;
    ready_.resize(static_cast<std::size_t>(own.count));
    // A thread finds nested loops serial, so the shape of every BLAS call is the same either way.
    parallel_for(place, own.count, [&](std::int64_t i) {
      ready_[static_cast<std::size_t>(i)] = leaf_sum(own.first + i);
    });
  }

  // Left child first, then right child, then their sum: a recursion as deep as the tree holds one
  // sum per level.
  Matrix<double> node_sum(ShardNode node) {
    if (shard_node_range(node, layout_.shards).count == 0) return {};
    if (node.level == 0) {
      if (ready_.empty()) return leaf_sum(node.index);
      return std::move(ready_[static_cast<std::size_t>(node.index - own_.first)]);
    }
    Matrix<double> left = node_sum({node.level - 1, 2 * node.index});
    Matrix<double> right = node_sum({node.level - 1, 2 * node.index + 1});
    if (left.empty()) return right;
    if (!right.empty()) add_packed(place_, values_of(right), values_of(left));
    return left;
  }

 private:
  Matrix<double> leaf_sum(std::int64_t shard) const {
    const ShardRange windows = shard_windows(layout_.windows, layout_.shards, shard);
    return windows.count == 0 ? Matrix<double>() : leaf_(windows);
  }

  const Place& place_;
  const CalibrationLayout& layout_;
  ShardRange own_;
  const ShardSum& leaf_;
  std::vector<Matrix<double>> ready_;
};

}  // namespace

std::vector<ShardPartial> sum_shards(const Place& place, const CalibrationLayout& layout,
                                     ShardRange own, bool side_by_side, const ShardSum& leaf) {
  BITGRID_ASSERT(layout.shards > 0 && layout.length > 0 && own.first >= 0 &&
                 own.end() <= layout.shards);
  Tree tree(place, layout, own, side_by_side, leaf);
  std::vector<ShardPartial> partials;
  for (const ShardNode node : shard_subtrees(own, layout.shards))
    partials.push_back({node, tree.node_sum(node)});
  return partials;
}

}  // namespace bitgrid
