#include "kernels/cuda_backend.hpp"
#include "kernels/pb_rows.hpp"

namespace bitgrid::cuda {

void pb_parameters(const Place&, std::int64_t, bool, MatrixView<const float>,
                   MatrixView<const std::uint8_t>, MatrixView<float>, MatrixView<float>) {
  cuda_unavailable("pb_parameters");
}

void pb_rows(const Place&, const PbColumns&, const PbRows&) { cuda_unavailable("pb_rows"); }

}  // namespace bitgrid::cuda
