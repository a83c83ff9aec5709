#include "kernels/fake_quantize_weights.hpp"

#include <string>

#include "kernels/error.hpp"

namespace bitgrid {

void fake_quantize_weights(const Place& place, const UniformGrid& grid, MatrixView<const float> w,
                           std::int64_t group, std::span<const float> scale, MatrixView<float> y) {
  if (group < 1 || w.cols % group != 0)
    throw Error("fake_quantize_weights: group " + std::to_string(group) + " does not divide " +
                std::to_string(w.cols) + " columns");
  if (y.rows != w.rows || y.cols != w.cols)
    throw Error("fake_quantize_weights: y must have the shape of w");
  if (!scale.empty() && static_cast<std::int64_t>(scale.size()) != w.cols)
    throw Error("fake_quantize_weights: scale must have one entry per column, in = " +
                std::to_string(w.cols));
  switch (place.device) {
    case Device::cpu:
      return cpu::fake_quantize_weights(place, grid, w, group, scale, y);
    case Device::cuda:
      return cuda::fake_quantize_weights(place, grid, w, group, scale, y);
  }
}

}  // namespace bitgrid
