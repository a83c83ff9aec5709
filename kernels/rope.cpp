#include "kernels/rope.hpp"

#include <string>

namespace bitgrid {
namespace {
void check_shapes(MatrixView<const float> x, std::int64_t head_size, MatrixView<const float> cos,
                  MatrixView<const float> sin) {
  if (head_size <= 0 || head_size % 2 != 0 || x.cols % head_size != 0)
    throw Error("rope: " + std::to_string(x.cols) + " columns are not heads of even size " +
                std::to_string(head_size));
  for (const auto& table : {cos, sin})
    if (table.cols != head_size / 2 || table.rows < x.rows)
      throw Error("rope: a table is [" + std::to_string(table.rows) + ", " +
                  std::to_string(table.cols) + "], expected at least " + std::to_string(x.rows) +
                  " rows of " + std::to_string(head_size / 2));
}
}  // namespace

void rope(const Place& place, MatrixView<float> x, std::int64_t head_size,
          MatrixView<const float> cos, MatrixView<const float> sin) {
  check_shapes(x, head_size, cos, sin);
  switch (place.device) {
    case Device::cpu:
      return cpu::rope(place, x, head_size, cos, sin);
    case Device::cuda:
      return cuda::rope(place.stream, x, head_size, cos, sin);
  }
}

void rope_backward(const Place& place, MatrixView<float> x, std::int64_t head_size,
                   MatrixView<const float> cos, MatrixView<const float> sin) {
  check_shapes(x, head_size, cos, sin);
  switch (place.device) {
    case Device::cpu:
      return cpu::rope_backward(place, x, head_size, cos, sin);
    case Device::cuda:
      return cuda::rope_backward(place.stream, x, head_size, cos, sin);
  }
}

}  // namespace bitgrid
