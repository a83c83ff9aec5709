#include "kernels/cuda_backend.hpp"
#include "kernels/rope.hpp"

namespace bitgrid::cuda {

void rope(void*, MatrixView<float>, std::int64_t, MatrixView<const float>,
          MatrixView<const float>) {
  cuda_unavailable("rope");
}

void rope_backward(void*, MatrixView<float>, std::int64_t, MatrixView<const float>,
                   MatrixView<const float>) {
  cuda_unavailable("rope_backward");
}

}  // namespace bitgrid::cuda
