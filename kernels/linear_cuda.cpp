#include "kernels/cuda_backend.hpp"
#include "kernels/linear.hpp"

namespace bitgrid::cuda {

void linear(void*, MatrixView<const float>, MatrixView<const float>, MatrixView<float>,
            Accumulate) {
  cuda_unavailable("linear");
}

}  // namespace bitgrid::cuda
