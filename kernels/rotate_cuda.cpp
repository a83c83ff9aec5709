#include "kernels/cuda_backend.hpp"
#include "kernels/rotate.hpp"

namespace bitgrid::cuda {

void rotate(const Place&, const Rotation&, Turn, Along, MatrixView<const float>,
            MatrixView<float>) {
  cuda_unavailable("rotate");
}

void rotate(const Place&, const Rotation&, Turn, Along, MatrixView<const double>,
            MatrixView<double>) {
  cuda_unavailable("rotate");
}

}  // namespace bitgrid::cuda
