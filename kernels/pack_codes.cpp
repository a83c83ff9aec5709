#include "kernels/pack_codes.hpp"

#include <string>

#include "kernels/error.hpp"

namespace bitgrid {
namespace {

void check(const char* operation, std::int64_t rows, std::int64_t cols, int bits,
           std::size_t bytes) {
  const std::string name = operation;
  if (bits < 1 || bits > 8)
    throw Error(name + ": bits must be 1 to 8, not " + std::to_string(bits));
  if (static_cast<std::int64_t>(bytes) != rows * packed_row_bytes(cols, bits))
    throw Error(name + ": " + std::to_string(rows) + " x " + std::to_string(cols) + " codes of " +
                std::to_string(bits) + " bits take " +
                std::to_string(rows * packed_row_bytes(cols, bits)) + " bytes, not " +
                std::to_string(bytes));
}

}  // namespace

void pack_codes(const Place& place, MatrixView<const std::uint8_t> codes, int bits,
                std::span<std::byte> packed) {
  check("pack_codes", codes.rows, codes.cols, bits, packed.size());
  switch (place.device) {
    case Device::cpu:
      return cpu::pack_codes(place, codes, bits, packed);
    case Device::cuda:
      return cuda::pack_codes(place, codes, bits, packed);
  }
}

void unpack_codes(const Place& place, std::span<const std::byte> packed, int bits,
                  MatrixView<std::uint8_t> codes) {
  check("unpack_codes", codes.rows, codes.cols, bits, packed.size());
  switch (place.device) {
    case Device::cpu:
      return cpu::unpack_codes(place, packed, bits, codes);
    case Device::cuda:
      return cuda::unpack_codes(place, packed, bits, codes);
  }
}

}  // namespace bitgrid
