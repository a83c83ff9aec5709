#include "kernels/cuda_backend.hpp"
#include "kernels/fdb_rows.hpp"

namespace bitgrid::cuda {

void fdb_rows(const Place&, const FdbColumns&, MatrixView<const float>, MatrixView<float>,
              MatrixView<float>, MatrixView<std::uint8_t>, std::span<double>) {
  cuda_unavailable("fdb_rows");
}

}  // namespace bitgrid::cuda
