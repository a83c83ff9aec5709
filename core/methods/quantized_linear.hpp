#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/dtype.hpp"
#include "kernels/matrix.hpp"
#include "kernels/place.hpp"

namespace bitgrid {

// An array as it is stored: results/ writes it without knowing what it means.
struct StoredArray {
  std::string name;  // "codes", "scales", "zeros", "group_index", "order"
  DType dtype = DType::u8;
  std::vector<std::int64_t> shape;  // logical shape
  // 0: elements of dtype. 1…8: unsigned codes of that many bits, packed little-endian along the
  // last axis, each row starting at a whole byte: code j of a row is at bits [j·bits, (j+1)·bits)
  // of the row.
  int packed_bits = 0;
  bool required =
      true;  // needed to rebuild the weight, counted in bits per weight; else diagnostic
  std::vector<std::byte> data;
  bool operator==(const StoredArray&) const = default;
};

// What a rounding reports of each linear; nothing degrades silently. NaN: does not apply to this
// method.
struct LinearDiagnostics {
  double loss = 0;                   // the method's own objective, summed over rows
  double relative_output_error = 0;  // ‖(W − Q)Xᵀ‖² / ‖W Xᵀ‖² on the calibration tokens
  double relative_weight_error = 0;  // ‖W − Q‖² / ‖W‖²
  double damping = 0;                // the fraction of the mean diagonal that was used in the end
  std::int64_t damping_attempts = 0;
  bool fallback =
      false;  // the factorization failed even at the end of the ladder: rounded to nearest
  std::int64_t dead_columns = 0;
  double factor_s = 0;  // seconds, not part of any comparison
  double solve_s = 0;
};

// A linear as quantized: everything from which its weight is rebuilt bit for bit, plus diagnostics.
struct QuantizedLinear {
  std::string name;    // "self_attn.q_proj"
  std::string format;  // "uniform": see rebuild_weight
  std::int64_t rows = 0, cols = 0;
  int bits = 0;
  std::int64_t group = -1;
  std::vector<StoredArray> arrays;
  LinearDiagnostics diagnostics;

  const StoredArray* find(const std::string& array) const;
  // Bits of all required arrays, divided by rows · cols.
  double bits_per_weight() const;
  // SHA-256 over the required arrays (names, shapes and bytes).
  std::string code_hash() const;
};

// The fp32 weight [rows, cols] that the arrays stand for. format "uniform":
//   w[r, j] = scales[r, g(j)] · (codes[r, j] − zero[r, g(j)]),  scales [rows, groups] fp16 (exact
//   in fp32) or fp32; g(j) = group_index[j] if that array is there, else floor(j / group); zero
//   from "zeros" (packed, [rows, groups]), or 2^(bits−1) where there is no such array (symmetric
//   grids).
// Throws Error if arrays are missing or do not fit together.
Matrix<float> rebuild_weight(const Place& place, const QuantizedLinear& linear);

}  // namespace bitgrid
