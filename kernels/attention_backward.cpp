#include "kernels/attention_backward.hpp"

#include <string>

namespace bitgrid {
namespace {
bool same_shape(MatrixView<const float> a, MatrixView<const float> b) {
  return a.rows == b.rows && a.cols == b.cols;
}
}  // namespace

void attention_backward(const Place& place, MatrixView<const float> q, MatrixView<const float> k,
                        MatrixView<const float> v, std::int64_t head_size,
                        MatrixView<const float> dy, MatrixView<float> dq, MatrixView<float> dk,
                        MatrixView<float> dv) {
  if (head_size <= 0 || q.cols % head_size != 0 || k.cols == 0 || k.cols % head_size != 0 ||
      q.cols % k.cols != 0)
    throw Error("attention_backward: " + std::to_string(q.cols) + " query and " +
                std::to_string(k.cols) + " key columns are not groups of heads of size " +
                std::to_string(head_size));
  if (k.rows != q.rows || !same_shape(v, k) || !same_shape(dk, k) || !same_shape(dv, k) ||
      !same_shape(dy, q) || !same_shape(dq, q))
    throw Error(
        "attention_backward: v, dk and dv must have the shape of k, dy and dq that of q, and k the "
        "rows of q; q has " +
        std::to_string(q.rows) + " rows, k " + std::to_string(k.rows));
  switch (place.device) {
    case Device::cpu:
      return cpu::attention_backward(place, q, k, v, head_size, dy, dq, dk, dv);
    case Device::cuda:
      return cuda::attention_backward(place.stream, q, k, v, head_size, dy, dq, dk, dv);
  }
}

}  // namespace bitgrid
