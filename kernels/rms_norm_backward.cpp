#include "kernels/rms_norm_backward.hpp"

#include <string>

namespace bitgrid {

void rms_norm_backward(const Place& place, MatrixView<const float> x,
                       MatrixView<const float> weight, float epsilon, MatrixView<const float> dy,
                       MatrixView<float> dx) {
  if (dy.rows != x.rows || dy.cols != x.cols || dx.rows != x.rows || dx.cols != x.cols)
    throw Error("rms_norm_backward: dy and dx must have the shape of x, [" +
                std::to_string(x.rows) + ", " + std::to_string(x.cols) + "]");
  if (weight.rows != 1 || weight.cols != x.cols)
    throw Error("rms_norm_backward: weight must be [1, hidden], hidden = " +
                std::to_string(x.cols));
  switch (place.device) {
    case Device::cpu:
      return cpu::rms_norm_backward(place, x, weight, epsilon, dy, dx);
    case Device::cuda:
      return cuda::rms_norm_backward(place.stream, x, weight, epsilon, dy, dx);
  }
}

}  // namespace bitgrid
