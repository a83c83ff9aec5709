#include "kernels/attention.hpp"

#include <string>

namespace bitgrid {

void attention(const Place& place, MatrixView<const float> q, MatrixView<const float> k,
               MatrixView<const float> v, std::int64_t head_size, MatrixView<float> y) {
  if (head_size <= 0 || q.cols % head_size != 0 || k.cols == 0 || k.cols % head_size != 0 ||
      q.cols % k.cols != 0)
    throw Error("attention: " + std::to_string(q.cols) + " query and " + std::to_string(k.cols) +
                " key columns are not groups of heads of size " + std::to_string(head_size));
  if (v.rows != k.rows || v.cols != k.cols || y.rows != q.rows || y.cols != q.cols ||
      k.rows < q.rows)
    throw Error(
        "attention: v must have the shape of k, y that of q, and k at least the rows of q; q has " +
        std::to_string(q.rows) + " rows, k " + std::to_string(k.rows));
  switch (place.device) {
    case Device::cpu:
      return cpu::attention(place, q, k, v, head_size, y);
    case Device::cuda:
      return cuda::attention(place.stream, q, k, v, head_size, y);
  }
}

}  // namespace bitgrid
