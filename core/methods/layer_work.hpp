#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "kernels/matrix.hpp"

namespace bitgrid {

// The calibration windows at the input of a layer whose linears have been rounded, and what its
// output was to be; what a TapWork is to the linears behind one tap, with the same contract.
class LayerWork {
 public:
  virtual ~LayerWork() = default;

  virtual std::int64_t windows() const = 0;  // of the whole calibration

  // Σ over all calibration windows of what `add` adds to sums [size], zero at first: in fp64,
  // inside a shard in the order of the windows, over shards in their tree. `add` sees one window at
  // the layer's input, x [length, hidden], and behind the layer as it was before rounding, target
  // [length, hidden]; it may leave windows out. It is called from many threads, and a shard's sums
  // are kept until all are there.
  virtual std::vector<double> sum_windows(
      std::int64_t size,
      const std::function<void(std::int64_t window, MatrixView<const float> x,
                               MatrixView<const float> target, std::span<double> sums)>& add) = 0;
};

}  // namespace bitgrid
