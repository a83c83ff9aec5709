#include "core/calibration/gram_shards.hpp"

#include <fmt/format.h>

#include <span>
#include <utility>

#include "kernels/error.hpp"
#include "kernels/finite.hpp"
#include "kernels/gram.hpp"
#include "kernels/parallel.hpp"
#include "kernels/triangle.hpp"

namespace bitgrid {
namespace {

std::span<float> values_of(Matrix<float>& packed) {
  return {packed.data(), static_cast<std::size_t>(packed.size())};
}

class ShardSums {
 public:
  ShardSums(const Place& place, const CalibrationLayout& layout, ShardRange own, std::int64_t in,
            const TapOfWindows& tap);
  Matrix<float> node_sum(ShardNode node);

 private:
  Matrix<float> leaf_sum(std::int64_t shard, Matrix<float>& square) const;

  const Place& place_;
  const CalibrationLayout& layout_;
  ShardRange own_;
  std::int64_t in_;
  const TapOfWindows& tap_;
  std::vector<Matrix<float>>
      ready_;             // leaves of all own shards, where they were summed in parallel
  Matrix<float> square_;  // workspace of the leaves that are summed one by one
};

// A small matrix offers no parallelism inside a shard's sum, but is cheap to keep once per shard. A
// thread finds nested loops serial, so the shape of every BLAS call is the same either way.
ShardSums::ShardSums(const Place& place, const CalibrationLayout& layout, ShardRange own,
                     std::int64_t in, const TapOfWindows& tap)
    : place_(place), layout_(layout), own_(own), in_(in), tap_(tap) {
  if (in > kParallelShardsIn) return;
  ready_.resize(static_cast<std::size_t>(own.count));
  parallel_for(place, own.count, [&](std::int64_t i) {
    Matrix<float> square;
    ready_[static_cast<std::size_t>(i)] = leaf_sum(own.first + i, square);
  });
}

Matrix<float> ShardSums::leaf_sum(std::int64_t shard, Matrix<float>& square) const {
  const ShardRange windows = shard_windows(layout_.windows, layout_.shards, shard);
  if (windows.count == 0) return {};
  const MatrixView<const float> x = tap_(windows);
  if (x.rows != windows.count * layout_.length || x.cols != in_)
    throw Error(fmt::format("tap of windows {} to {} must be [{}, {}], not [{}, {}]", windows.first,
                            windows.end() - 1, windows.count * layout_.length, in_, x.rows,
                            x.cols));
  if (const auto bad = find_non_finite(place_, x))
    throw Error(fmt::format("non-finite activation ({}) in window {}, token {}, channel {}",
                            x(bad->row, bad->col), windows.first + bad->row / layout_.length,
                            bad->row % layout_.length, bad->col));
  if (square.empty()) square = Matrix<float>(in_, in_);
  square.fill(0.0f);
  accumulate_gram(place_, x, square.view());
  Matrix<float> packed(1, packed_triangle_size(in_));
  pack_lower(place_, square.view(), values_of(packed));
  return packed;
}

// Left child first, then right child, then their sum: a recursion as deep as the tree holds one sum
// per level.
Matrix<float> ShardSums::node_sum(ShardNode node) {
  const ShardRange covered = shard_node_range(node, layout_.shards);
  if (covered.count == 0) return {};
  if (node.level == 0) {
    if (ready_.empty()) return leaf_sum(node.index, square_);
    return std::move(ready_[static_cast<std::size_t>(node.index - own_.first)]);
  }
  Matrix<float> left = node_sum({node.level - 1, 2 * node.index});
  Matrix<float> right = node_sum({node.level - 1, 2 * node.index + 1});
  if (left.empty()) return right;
  if (!right.empty()) add_packed(place_, values_of(right), values_of(left));
  return left;
}

}  // namespace

std::vector<GramPartial> sum_gram_shards(const Place& place, const CalibrationLayout& layout,
                                         ShardRange own, std::int64_t in, const TapOfWindows& tap) {
  BITGRID_ASSERT(layout.shards > 0 && layout.length > 0 && own.first >= 0 &&
                 own.end() <= layout.shards);
  ShardSums sums(place, layout, own, in, tap);
  std::vector<GramPartial> partials;
  for (const ShardNode node : shard_subtrees(own, layout.shards))
    partials.push_back({node, sums.node_sum(node)});
  return partials;
}

Matrix<float> unpack_gram(const Place& place, const float* packed, std::int64_t in) {
  Matrix<float> gram(in, in);
  gram.fill(0.0f);
  unpack_lower(place, {packed, static_cast<std::size_t>(packed_triangle_size(in))}, gram.view());
  return gram;
}

}  // namespace bitgrid
