#pragma once

#include <functional>
#include <vector>

#include "core/calibration/shard_sums.hpp"
#include "core/methods/tap_work.hpp"

namespace bitgrid {

// The tap of consecutive windows [first, first + count), [count·length, in], contiguous. It must
// stay in place until the next call from the same thread. For in <= kParallelShardsIn it is called
// from several threads at once.
using TapOfWindows = std::function<MatrixView<const float>(ShardRange windows)>;
inline constexpr std::int64_t kParallelShardsIn = 512;

// What a replica's shards say of a tap.
struct TapPartials {
  // One per node of shard_subtrees(own, shards); the values are those that are needed of: the Gram
  // matrix' lower triangle row after row, the sampled tokens' in the same form, Σ|x| by channel.
  std::vector<ShardPartial> sums;
  // Over the replica's windows; empty: not needed. Whoever joins replicas takes maxima of both.
  std::vector<float> abs_max;  // [in]
  std::vector<float> ranges;   // [2·in]: max −x of every channel, then max x
};
std::int64_t tap_sum_size(const StatisticsNeeds& needs, std::int64_t in);

// Throws Error naming window, token and channel of the first activation that is not finite.
TapPartials sum_tap(const Place& place, const CalibrationLayout& layout, ShardRange own,
                    std::int64_t in, const StatisticsNeeds& needs, const TapOfWindows& tap);

// The complete sums [tap_sum_size] as statistics.
Statistics unpack_statistics(const Place& place, const CalibrationLayout& layout,
                             const StatisticsNeeds& needs, std::int64_t in,
                             std::span<const double> sums, std::vector<float> abs_max,
                             std::span<const float> ranges = {});

}  // namespace bitgrid
