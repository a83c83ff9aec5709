#include "kernels/cuda_backend.hpp"
#include "kernels/linear_backward.hpp"

namespace bitgrid::cuda {

void linear_backward_input(void*, MatrixView<const float>, MatrixView<const float>,
                           MatrixView<float>, Accumulate) {
  cuda_unavailable("linear_backward_input");
}

void linear_backward_weight(void*, MatrixView<const float>, MatrixView<const float>,
                            MatrixView<float>, Accumulate) {
  cuda_unavailable("linear_backward_weight");
}

}  // namespace bitgrid::cuda
