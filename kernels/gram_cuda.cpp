#include "kernels/cuda_backend.hpp"
#include "kernels/gram.hpp"

namespace bitgrid::cuda {

void accumulate_gram(const Place&, MatrixView<const float>, MatrixView<double>) {
  cuda_unavailable("accumulate_gram");
}

}  // namespace bitgrid::cuda
