#include "kernels/cuda_backend.hpp"
#include "kernels/swiglu_backward.hpp"

namespace bitgrid::cuda {

void swiglu_backward(void*, MatrixView<const float>, MatrixView<const float>,
                     MatrixView<const float>, MatrixView<float>, MatrixView<float>) {
  cuda_unavailable("swiglu_backward");
}

}  // namespace bitgrid::cuda
