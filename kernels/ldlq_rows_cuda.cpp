#include "kernels/cuda_backend.hpp"
#include "kernels/ldlq_rows.hpp"

namespace bitgrid::cuda {

void ldlq_rows(const Place&, const LdlqColumns&, MatrixView<const float>, MatrixView<std::uint8_t>,
               MatrixView<double>) {
  cuda_unavailable("ldlq_rows");
}

}  // namespace bitgrid::cuda
