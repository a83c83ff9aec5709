#pragma once

#include <span>

#include "core/methods/quantized_linear.hpp"
#include "kernels/pb_rows.hpp"

namespace bitgrid {

// The two formats of binary weights: what is stored, and what it stands for.

// What one weight of format "pb-llm" stands for. code: the sign, or the salient weight's code
float pb_value(PbKind kind, std::uint8_t code, float mean, float deviation, float scale,
               std::uint8_t zero);

// Format "pb-llm": every weight is binary, mean ± deviation of its row and group, or salient, a
// code on its row's grid.
//   "binary"          1 bit  [rows, in]: which weights are binary; 0 in dead columns
//   "signs"           1 bit  [1, binary weights], row after row
//   "salient_codes"   packed to `bits` [1, salient weights], row after row
//   "row_offsets"     i32    [rows]: salient weights in the rows before
//   "salient_counts"  u8     [rows, tiles of 128 columns, 2]: salient weights of the row before the
//                            tile, 16 bits, low byte first; with row_offsets, where to start
//   "means", "deviations"  fp16 [rows, groups]
//   "scales" fp16, "zeros" [rows, 1]: grid of the salient weights
//   "dead_columns"    1 bit  [1, in], where there are any: their weights are 0
// Signs and salient_codes are missing where there are none.
inline constexpr std::int64_t kPbCountColumns = 128;  // columns between two running counts
struct PbStored {
  MatrixView<const std::uint8_t> kinds, codes;
  MatrixView<const std::uint16_t> means, deviations, scales;  // fp16
  MatrixView<const std::uint8_t> zeros;
};
QuantizedLinear assemble_pb_llm(const PbStored& stored, int salient_bits);
Matrix<float> rebuild_pb_llm(const Place& place, const QuantizedLinear& linear);

// Format "billm": slabs of `group` columns. In a salient column, the same for all rows, a weight is
// salient_mean ± salient_deviation ± residual_deviation; elsewhere it is of the row's concentrated
// or sparse set, mean ± deviation.
//   "signs"    1 bit [rows, in]: + of the first deviation
//   "seconds"  1 bit [rows, in]: + of the residual's deviation, or the weight is of the sparse set
//   "salient_columns", and "dead_columns" where there are any  1 bit [1, in]
//   kBillmParameters  fp16 [rows, slabs]; means of concentrated and sparse are missing where they
//                     are all 0
inline constexpr const char* kBillmParameters[] = {
    "concentrated_mean", "concentrated_deviation", "sparse_mean",       "sparse_deviation",
    "salient_mean",      "salient_deviation",      "residual_deviation"};
struct BillmStored {
  MatrixView<const std::uint8_t> codes;               // [rows, in], as BinarizedSlab has them
  std::span<const Matrix<std::uint16_t>> parameters;  // fp16, in the order of kBillmParameters
  std::span<const std::uint8_t> salient, dead;        // [in] flags
  bool means = true;
};
QuantizedLinear assemble_billm(const BillmStored& stored);
Matrix<float> rebuild_billm(const Place& place, const QuantizedLinear& linear);

}  // namespace bitgrid
