#include "core/calibration/tap_statistics.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>
#include <span>
#include <utility>

#include "kernels/error.hpp"
#include "kernels/finite.hpp"
#include "kernels/gram.hpp"
#include "kernels/triangle.hpp"

namespace bitgrid {
namespace {

// Every stride-th token of all windows end to end, of those that lie in x, whose first token is
// number `first`.
Matrix<float> sampled_rows(MatrixView<const float> x, std::int64_t first, std::int64_t stride) {
  const std::int64_t skip = (stride - first % stride) % stride;
  const std::int64_t count = x.rows > skip ? (x.rows - skip + stride - 1) / stride : 0;
  Matrix<float> rows(count, x.cols);
  for (std::int64_t i = 0; i < count; ++i)
    std::copy_n(x.row(skip + i * stride), x.cols, rows.row(i));
  return rows;
}

class TapSums {
 public:
  TapSums(const Place& place, const CalibrationLayout& layout, std::int64_t in,
          const StatisticsNeeds& needs, const TapOfWindows& tap)
      : place_(place), layout_(layout), in_(in), needs_(needs), tap_(tap) {
    if (needs.channels) abs_max_.assign(static_cast<std::size_t>(in), 0.0f);
    if (needs.ranges)
      ranges_.assign(static_cast<std::size_t>(2 * in), -std::numeric_limits<float>::infinity());
  }

  Matrix<double> shard_sum(ShardRange windows) {
    const MatrixView<const float> x = tap_(windows);
    check(x, windows);
    Matrix<double> sums(1, tap_sum_size(needs_, in_));
    double* at = sums.data();
    if (needs_.gram) at = add_gram(x, at);
    if (needs_.sampled_gram)
      at = add_gram(
          sampled_rows(x, windows.first * layout_.length, sample_stride(layout_.tokens())).view(),
          at);
    if (needs_.channels) add_channels(x, at);
    if (needs_.ranges) add_ranges(x);
    return sums;
  }

  std::vector<float> abs_max() { return std::move(abs_max_); }
  std::vector<float> ranges() { return std::move(ranges_); }

 private:
  void check(MatrixView<const float> x, ShardRange windows) const {
    if (x.rows != windows.count * layout_.length || x.cols != in_)
      throw Error(fmt::format("tap of windows {} to {} must be [{}, {}], not [{}, {}]",
                              windows.first, windows.end() - 1, windows.count * layout_.length, in_,
                              x.rows, x.cols));
    if (const auto bad = find_non_finite(place_, x))
      throw Error(fmt::format("non-finite activation ({}) in window {}, token {}, channel {}",
                              x(bad->row, bad->col), windows.first + bad->row / layout_.length,
                              bad->row % layout_.length, bad->col));
  }

  double* add_gram(MatrixView<const float> x, double* at) const {
    Matrix<double> square(in_, in_);
    square.fill(0);
    accumulate_gram(place_, x, square.view());
    const auto size = static_cast<std::size_t>(packed_triangle_size(in_));
    pack_lower(place_, square.view(), {at, size});
    return at + size;
  }

  void add_channels(MatrixView<const float> x, double* sums) {
    std::fill_n(sums, in_, 0.0);
    std::vector<float> largest(static_cast<std::size_t>(in_), 0.0f);
    for (std::int64_t t = 0; t < x.rows; ++t) {
      const float* row = x.row(t);
      for (std::int64_t j = 0; j < in_; ++j) {
        const float magnitude = std::fabs(row[j]);
        sums[j] += static_cast<double>(magnitude);
        largest[static_cast<std::size_t>(j)] =
            std::max(largest[static_cast<std::size_t>(j)], magnitude);
      }
    }
    const std::lock_guard lock(mutex_);
    for (std::size_t j = 0; j < largest.size(); ++j)
      abs_max_[j] = std::max(abs_max_[j], largest[j]);
  }

  void add_ranges(MatrixView<const float> x) {
    std::vector<float> own(ranges_.size(), -std::numeric_limits<float>::infinity());
    float* negated = own.data();
    float* highest = own.data() + in_;
    for (std::int64_t t = 0; t < x.rows; ++t) {
      const float* row = x.row(t);
      for (std::int64_t j = 0; j < in_; ++j) {
        negated[j] = std::max(negated[j], -row[j]);
        highest[j] = std::max(highest[j], row[j]);
      }
    }
    const std::lock_guard lock(mutex_);
    for (std::size_t j = 0; j < own.size(); ++j) ranges_[j] = std::max(ranges_[j], own[j]);
  }

  const Place& place_;
  const CalibrationLayout& layout_;
  std::int64_t in_;
  const StatisticsNeeds& needs_;
  const TapOfWindows& tap_;
  std::mutex mutex_;
  std::vector<float> abs_max_;
  std::vector<float> ranges_;
};

Matrix<double> unpack_gram(const Place& place, const double* packed, std::int64_t in) {
  Matrix<double> gram(in, in);
  gram.fill(0);
  unpack_lower(place, {packed, static_cast<std::size_t>(packed_triangle_size(in))}, gram.view());
  return gram;
}

}  // namespace

std::int64_t tap_sum_size(const StatisticsNeeds& needs, std::int64_t in) {
  return (needs.gram + needs.sampled_gram) * packed_triangle_size(in) + needs.channels * in;
}

TapPartials sum_tap(const Place& place, const CalibrationLayout& layout, ShardRange own,
                    std::int64_t in, const StatisticsNeeds& needs, const TapOfWindows& tap) {
  TapSums sums(place, layout, in, needs, tap);
  TapPartials partials;
  // A small matrix offers no parallelism inside a shard's sum, but is cheap to keep once per shard.
  partials.sums = sum_shards(place, layout, own, in <= kParallelShardsIn,
                             [&](ShardRange windows) { return sums.shard_sum(windows); });
  partials.abs_max = sums.abs_max();
  partials.ranges = sums.ranges();
  return partials;
}

Statistics unpack_statistics(const Place& place, const CalibrationLayout& layout,
                             const StatisticsNeeds& needs, std::int64_t in,
                             std::span<const double> sums, std::vector<float> abs_max,
                             std::span<const float> ranges) {
  BITGRID_ASSERT(static_cast<std::int64_t>(sums.size()) == tap_sum_size(needs, in));
  Statistics statistics;
  statistics.tokens = layout.tokens();
  const double* at = sums.data();
  if (needs.gram) {
    statistics.gram = unpack_gram(place, at, in);
    at += packed_triangle_size(in);
  }
  if (needs.sampled_gram) {
    statistics.sampled_gram = unpack_gram(place, at, in);
    const std::int64_t stride = sample_stride(statistics.tokens);
    statistics.sampled_tokens = (statistics.tokens + stride - 1) / stride;
    at += packed_triangle_size(in);
  }
  if (needs.channels) statistics.abs_sum.assign(at, at + in);
  statistics.abs_max = std::move(abs_max);
  if (needs.ranges) {
    BITGRID_ASSERT(std::ssize(ranges) == 2 * in);
    for (const float negated : ranges.first(static_cast<std::size_t>(in)))
      statistics.lowest.push_back(-negated);
    statistics.highest.assign(ranges.begin() + in, ranges.end());
  }
  return statistics;
}

}  // namespace bitgrid
