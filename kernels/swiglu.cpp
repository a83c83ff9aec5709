#include "kernels/swiglu.hpp"

#include <string>

namespace bitgrid {

void swiglu(const Place& place, MatrixView<const float> gate, MatrixView<const float> up,
            MatrixView<float> y) {
  if (up.rows != gate.rows || up.cols != gate.cols || y.rows != gate.rows || y.cols != gate.cols)
    throw Error("swiglu: up and y must have the shape of gate, [" + std::to_string(gate.rows) +
                ", " + std::to_string(gate.cols) + "]");
  switch (place.device) {
    case Device::cpu:
      return cpu::swiglu(place, gate, up, y);
    case Device::cuda:
      return cuda::swiglu(place.stream, gate, up, y);
  }
}

}  // namespace bitgrid
