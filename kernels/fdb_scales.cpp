#include "kernels/fdb_scales.hpp"

#include <string>

namespace bitgrid {
namespace {
void check_shapes(const std::string& name, MatrixView<const std::uint8_t> codes,
                  MatrixView<const float> scale1, MatrixView<const float> scale2,
                  MatrixView<const float> w) {
  if (scale1.rows != codes.rows || scale2.rows != codes.rows || scale2.cols != scale1.cols ||
      w.rows != codes.rows || w.cols != codes.cols ||
      (scale1.cols == 0 ? codes.cols != 0 : codes.cols % scale1.cols != 0))
    throw Error(name + ": weights must have the shape of codes, [" + std::to_string(codes.rows) +
                ", " + std::to_string(codes.cols) +
                "], and scales as many rows and a divisor of the columns");
}
}  // namespace

void fdb_weights(const Place& place, MatrixView<const std::uint8_t> codes,
                 MatrixView<const float> alpha1, MatrixView<const float> alpha2,
                 MatrixView<float> w) {
  check_shapes("fdb_weights", codes, alpha1, alpha2, w);
  switch (place.device) {
    case Device::cpu:
      return cpu::fdb_weights(place, codes, alpha1, alpha2, w);
    case Device::cuda:
      return cuda::fdb_weights(place.stream, codes, alpha1, alpha2, w);
  }
}

void fdb_scale_gradient(const Place& place, MatrixView<const std::uint8_t> codes,
                        MatrixView<const float> dw, MatrixView<float> dalpha1,
                        MatrixView<float> dalpha2) {
  check_shapes("fdb_scale_gradient", codes, dalpha1, dalpha2, dw);
  switch (place.device) {
    case Device::cpu:
      return cpu::fdb_scale_gradient(place, codes, dw, dalpha1, dalpha2);
    case Device::cuda:
      return cuda::fdb_scale_gradient(place.stream, codes, dw, dalpha1, dalpha2);
  }
}

}  // namespace bitgrid
