#include "kernels/cuda_backend.hpp"
#include "kernels/fdb_joint_scales.hpp"

namespace bitgrid::cuda {

void fdb_row_losses(const Place&, const FdbObjective&, MatrixView<const float>,
                    MatrixView<const float>, MatrixView<const float>,
                    MatrixView<const std::uint8_t>, std::span<double>) {
  cuda_unavailable("fdb_row_losses");
}

void fdb_joint_scales(const Place&, const FdbObjective&, MatrixView<const float>,
                      MatrixView<const std::uint8_t>, MatrixView<float>, MatrixView<float>,
                      std::span<double>) {
  cuda_unavailable("fdb_joint_scales");
}

}  // namespace bitgrid::cuda
