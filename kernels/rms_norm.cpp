#include "kernels/rms_norm.hpp"

#include <string>

namespace bitgrid {

void rms_norm(const Place& place, MatrixView<const float> x, MatrixView<const float> weight,
              float epsilon, MatrixView<float> y) {
  if (y.rows != x.rows || y.cols != x.cols)
    throw Error("rms_norm: y must have the shape of x, [" + std::to_string(x.rows) + ", " +
                std::to_string(x.cols) + "]");
  if (weight.rows != 1 || weight.cols != x.cols)
    throw Error("rms_norm: weight must be [1, hidden], hidden = " + std::to_string(x.cols));
  switch (place.device) {
    case Device::cpu:
      return cpu::rms_norm(place, x, weight, epsilon, y);
    case Device::cuda:
      return cuda::rms_norm(place.stream, x, weight, epsilon, y);
  }
}

}  // namespace bitgrid
