#include "kernels/swiglu_backward.hpp"

#include <string>

namespace bitgrid {

void swiglu_backward(const Place& place, MatrixView<const float> gate, MatrixView<const float> up,
                     MatrixView<const float> dy, MatrixView<float> dgate, MatrixView<float> dup) {
  for (const MatrixView<const float> m :
       {up, dy, MatrixView<const float>(dgate), MatrixView<const float>(dup)})
    if (m.rows != gate.rows || m.cols != gate.cols)
      throw Error("swiglu_backward: up, dy, dgate and dup must have the shape of gate, [" +
                  std::to_string(gate.rows) + ", " + std::to_string(gate.cols) + "]");
  switch (place.device) {
    case Device::cpu:
      return cpu::swiglu_backward(place, gate, up, dy, dgate, dup);
    case Device::cuda:
      return cuda::swiglu_backward(place.stream, gate, up, dy, dgate, dup);
  }
}

}  // namespace bitgrid
