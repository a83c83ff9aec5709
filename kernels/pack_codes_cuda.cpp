#include "kernels/cuda_backend.hpp"
#include "kernels/pack_codes.hpp"

namespace bitgrid::cuda {

void pack_codes(const Place&, MatrixView<const std::uint8_t>, int, std::span<std::byte>) {
  cuda_unavailable("pack_codes");
}

void unpack_codes(const Place&, std::span<const std::byte>, int, MatrixView<std::uint8_t>) {
  cuda_unavailable("unpack_codes");
}

}  // namespace bitgrid::cuda
