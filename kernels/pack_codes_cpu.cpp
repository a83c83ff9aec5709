#include <algorithm>
#include <string>

#include "kernels/error.hpp"
#include "kernels/pack_codes.hpp"
#include "kernels/parallel.hpp"

namespace bitgrid::cpu {
namespace {

constexpr std::int64_t kRowsPerTask = 64;
std::int64_t tasks_of(std::int64_t rows) { return (rows + kRowsPerTask - 1) / kRowsPerTask; }

// Eight codes of b bits are b whole bytes: one 64-bit word holds them.
void pack_row(const std::uint8_t* codes, std::int64_t cols, int bits, std::byte* packed) {
  unsigned all = 0;
  for (std::int64_t j = 0; j < cols; ++j) all |= codes[j];
  if (all >> bits)
    throw Error("pack_codes: a code does not fit into " + std::to_string(bits) + " bits");
  for (std::int64_t j = 0; j < cols; j += 8) {
    const std::int64_t count = std::min<std::int64_t>(8, cols - j);
    std::uint64_t word = 0;
    for (std::int64_t i = 0; i < count; ++i) word |= std::uint64_t{codes[j + i]} << (i * bits);
    for (std::int64_t i = 0; i < (count * bits + 7) / 8; ++i)
      *packed++ = static_cast<std::byte>(word >> (8 * i));
  }
}

void unpack_row(const std::byte* packed, std::int64_t cols, int bits, std::uint8_t* codes) {
  const std::uint64_t mask = (std::uint64_t{1} << bits) - 1;
  for (std::int64_t j = 0; j < cols; j += 8) {
    const std::int64_t count = std::min<std::int64_t>(8, cols - j);
    std::uint64_t word = 0;
    for (std::int64_t i = 0; i < (count * bits + 7) / 8; ++i)
      word |= static_cast<std::uint64_t>(*packed++) << (8 * i);
    for (std::int64_t i = 0; i < count; ++i)
      codes[j + i] = static_cast<std::uint8_t>((word >> (i * bits)) & mask);
  }
}

}  // namespace

void pack_codes(const Place& place, MatrixView<const std::uint8_t> codes, int bits,
                std::span<std::byte> packed) {
  const std::int64_t row_bytes = packed_row_bytes(codes.cols, bits);
  parallel_for(place, tasks_of(codes.rows), [&](std::int64_t task) {
    for (std::int64_t r = task * kRowsPerTask; r < std::min(codes.rows, (task + 1) * kRowsPerTask);
         ++r)
      pack_row(codes.row(r), codes.cols, bits, packed.data() + r * row_bytes);
  });
}

void unpack_codes(const Place& place, std::span<const std::byte> packed, int bits,
                  MatrixView<std::uint8_t> codes) {
  const std::int64_t row_bytes = packed_row_bytes(codes.cols, bits);
  parallel_for(place, tasks_of(codes.rows), [&](std::int64_t task) {
    for (std::int64_t r = task * kRowsPerTask; r < std::min(codes.rows, (task + 1) * kRowsPerTask);
         ++r)
      unpack_row(packed.data() + r * row_bytes, codes.cols, bits, codes.row(r));
  });
}

}  // namespace bitgrid::cpu
