#include "kernels/attention_backward.hpp"
#include "kernels/cuda_backend.hpp"

namespace bitgrid::cuda {

void attention_backward(void*, MatrixView<const float>, MatrixView<const float>,
                        MatrixView<const float>, std::int64_t, MatrixView<const float>,
                        MatrixView<float>, MatrixView<float>, MatrixView<float>) {
  cuda_unavailable("attention_backward");
}

}  // namespace bitgrid::cuda
