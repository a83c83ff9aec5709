#pragma once

#include <algorithm>
#include <vector>

#include "core/calibration/shard_sums.hpp"
#include "core/methods/layer_work.hpp"
#include "kernels/place.hpp"

namespace bitgrid::test {

// A LayerWork of one process: windows end to end.
class SoloLayerWork : public LayerWork {
 public:
  //   x, target [windows · length, hidden]
  SoloLayerWork(const Place& place, MatrixView<const float> x, MatrixView<const float> target,
                std::int64_t windows, std::int64_t shards = 4)
      : place_(place), x_(x), target_(target), layout_{windows, x.rows / windows, shards} {}

  int sums = 0;  // calls of sum_windows

  std::int64_t windows() const override { return layout_.windows; }
  std::vector<double> sum_windows(
      std::int64_t size,
      const std::function<void(std::int64_t window, MatrixView<const float> x,
                               MatrixView<const float> target, std::span<double> sums)>& add)
      override {
    ++sums;
    const auto leaf = [&](ShardRange windows) {
      Matrix<double> sum(1, size);
      sum.fill(0);
      for (std::int64_t w = windows.first; w < windows.end(); ++w)
        add(w, rows_of(x_, w), rows_of(target_, w), {sum.data(), static_cast<std::size_t>(size)});
      return sum;
    };
    const auto partials = sum_shards(place_, layout_, {0, layout_.shards}, true, leaf);
    std::vector<double> total(static_cast<std::size_t>(size), 0.0);
    if (!partials.front().sums.empty())
      std::copy_n(partials.front().sums.data(), size, total.begin());
    return total;
  }

 private:
  MatrixView<const float> rows_of(MatrixView<const float> m, std::int64_t window) const {
    return m.rows_from(window * layout_.length, layout_.length);
  }

  const Place& place_;
  MatrixView<const float> x_, target_;
  CalibrationLayout layout_;
};

}  // namespace bitgrid::test
