#include "kernels/linear.hpp"

#include <string>

namespace bitgrid {

void linear(const Place& place, MatrixView<const float> x, MatrixView<const float> w,
            MatrixView<float> y, Accumulate accumulate) {
  if (w.cols != x.cols || y.rows != x.rows || y.cols != w.rows)
    throw Error("linear: x is [" + std::to_string(x.rows) + ", " + std::to_string(x.cols) +
                "], w [" + std::to_string(w.rows) + ", " + std::to_string(w.cols) + "], y [" +
                std::to_string(y.rows) + ", " + std::to_string(y.cols) +
                "]; expected [tokens, in], [out, in], [tokens, out]");
  switch (place.device) {
    case Device::cpu:
      return cpu::linear(place, x, w, y, accumulate);
    case Device::cuda:
      return cuda::linear(place.stream, x, w, y, accumulate);
  }
}

}  // namespace bitgrid
