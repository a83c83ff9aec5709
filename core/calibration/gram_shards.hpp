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
  bool operator==(const CalibrationLayout&) const = default;
};

// The part of a Gram matrix that one node of the shard tree sums.
struct GramPartial {
  ShardNode node;
  Matrix<float>
      packed;  // [1, in·(in+1)/2], lower triangle row after row; empty: the node has no windows
};

// The tap of consecutive windows [first, first + count), [count·length, in], contiguous. It must
// stay in place until the next call from the same thread. For in <= kParallelShardsIn it is called
// from several threads at once.
using TapOfWindows = std::function<MatrixView<const float>(ShardRange windows)>;
inline constexpr std::int64_t kParallelShardsIn = 512;

// Sums XᵀX over the shards that a replica owns: one partial per node of shard_subtrees(own,
// layout.shards), in that order. Each shard is one sum of its own and shards are added in the
// tree's order, so a partial is the same bytes whatever the replicas and threads. Shards are added
// as a binary counter counts: at most log2(shards) + 1 sums are alive, and one square, in² x 4 B,
// is worked in. Throws Error naming window, token and channel of the first activation that is not
// finite.
std::vector<GramPartial> sum_gram_shards(const Place& place, const CalibrationLayout& layout,
                                         ShardRange own, std::int64_t in, const TapOfWindows& tap);

// The square matrix [in, in] (lower triangle; zeros above) of a packed one.
Matrix<float> unpack_gram(const Place& place, const float* packed, std::int64_t in);

}  // namespace bitgrid
