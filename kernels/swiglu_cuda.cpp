#include "kernels/cuda_backend.hpp"
#include "kernels/swiglu.hpp"

namespace bitgrid::cuda {

void swiglu(void*, MatrixView<const float>, MatrixView<const float>, MatrixView<float>) {
  cuda_unavailable("swiglu");
}

}  // namespace bitgrid::cuda
