#include "kernels/clip_search.hpp"
#include "kernels/cuda_backend.hpp"

namespace bitgrid::cuda {

void search_clip(const Place&, const UniformGrid&, MatrixView<const float>, MatrixView<const float>,
                 MatrixView<std::uint8_t>) {
  cuda_unavailable("search_clip");
}

void clip_groups(const Place&, MatrixView<const std::uint8_t>, MatrixView<float>) {
  cuda_unavailable("clip_groups");
}

}  // namespace bitgrid::cuda
