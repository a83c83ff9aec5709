#include "kernels/cuda_backend.hpp"
#include "kernels/slab_rows.hpp"

namespace bitgrid::cuda {

void slab_rows(const Place&, const SlabColumns&, MatrixView<const float>, MatrixView<float>,
               MatrixView<float>, MatrixView<std::uint8_t>, std::span<double>) {
  cuda_unavailable("slab_rows");
}

}  // namespace bitgrid::cuda
