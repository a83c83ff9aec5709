#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "core/methods/quantized_linear.hpp"

namespace bitgrid {

// Format "mixed-width": slabs of `group` columns on all rows with widths of their own, one less, as
// many or one more than linear.bits.
//   widths  [1, slabs] two bits: width − (bits − 1)
//   codes   bytes: slab after slab, each [rows · group] codes of its width, row after row, packed
//           little-endian and ending with a whole byte
//   scales  [rows, slabs] fp16: step, or α in slabs of one bit
//   zeros   bytes: slab after slab of two bits and more, [rows] zeros of its width, packed alike
//   means   [rows, slabs of one bit] fp16; only where there are such
//   dead    i32: columns that stand for 0 in slabs of one bit; only where there are such
struct MixedWidth {
  std::span<const std::uint8_t> widths;    // [slabs]
  MatrixView<const std::uint8_t> codes;    // [rows, in]
  MatrixView<const std::uint16_t> scales;  // [rows, slabs] fp16 bits
  MatrixView<const std::uint8_t> zeros;    // [rows, slabs], unused in slabs of one bit
  MatrixView<const std::uint16_t> means;   // [rows, slabs] fp16 bits, used in slabs of one bit
  std::span<const std::int32_t> dead;      // columns
};

// Adds the arrays to a linear whose rows, cols, bits and group are set.
void store_mixed_width(const MixedWidth& parts, QuantizedLinear& linear);

Matrix<float> rebuild_mixed_width(const Place& place, const QuantizedLinear& linear);

}  // namespace bitgrid
