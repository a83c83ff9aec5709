#include "kernels/linear_backward.hpp"

#include <string>

namespace bitgrid {
namespace {
std::string shape(MatrixView<const float> m) {
  return "[" + std::to_string(m.rows) + ", " + std::to_string(m.cols) + "]";
}
}  // namespace

void linear_backward_input(const Place& place, MatrixView<const float> dy,
                           MatrixView<const float> w, MatrixView<float> dx, Accumulate accumulate) {
  if (w.rows != dy.cols || dx.rows != dy.rows || dx.cols != w.cols)
    throw Error("linear_backward_input: dy is " + shape(dy) + ", w " + shape(w) + ", dx " +
                shape(dx) + "; expected [tokens, out], [out, in], [tokens, in]");
  switch (place.device) {
    case Device::cpu:
      return cpu::linear_backward_input(place, dy, w, dx, accumulate);
    case Device::cuda:
      return cuda::linear_backward_input(place.stream, dy, w, dx, accumulate);
  }
}

void linear_backward_weight(const Place& place, MatrixView<const float> dy,
                            MatrixView<const float> x, MatrixView<float> dw,
                            Accumulate accumulate) {
  if (x.rows != dy.rows || dw.rows != dy.cols || dw.cols != x.cols)
    throw Error("linear_backward_weight: dy is " + shape(dy) + ", x " + shape(x) + ", dw " +
                shape(dw) + "; expected [tokens, out], [tokens, in], [out, in]");
  switch (place.device) {
    case Device::cpu:
      return cpu::linear_backward_weight(place, dy, x, dw, accumulate);
    case Device::cuda:
      return cuda::linear_backward_weight(place.stream, dy, x, dw, accumulate);
  }
}

}  // namespace bitgrid
