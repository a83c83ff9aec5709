#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/matrix.hpp"
#include "kernels/place.hpp"

namespace bitgrid {

// Unsigned codes of `bits` bits (1 … 8), packed little-endian along a row: code j of a row is at
// bits [j·bits, (j+1)·bits) of the row, and every row starts at a whole byte. Unused bits of a
// row's last byte are zero.
constexpr std::int64_t packed_row_bytes(std::int64_t cols, int bits) {
  return (cols * bits + 7) / 8;
}

// codes [rows, cols], each below 2^bits    packed rows · packed_row_bytes(cols, bits) bytes
void pack_codes(const Place& place, MatrixView<const std::uint8_t> codes, int bits,
                std::span<std::byte> packed);
void unpack_codes(const Place& place, std::span<const std::byte> packed, int bits,
                  MatrixView<std::uint8_t> codes);

namespace cpu {
void pack_codes(const Place& place, MatrixView<const std::uint8_t> codes, int bits,
                std::span<std::byte> packed);
void unpack_codes(const Place& place, std::span<const std::byte> packed, int bits,
                  MatrixView<std::uint8_t> codes);
}  // namespace cpu
namespace cuda {
void pack_codes(const Place& place, MatrixView<const std::uint8_t> codes, int bits,
                std::span<std::byte> packed);
void unpack_codes(const Place& place, std::span<const std::byte> packed, int bits,
                  MatrixView<std::uint8_t> codes);
}  // namespace cuda

}  // namespace bitgrid
