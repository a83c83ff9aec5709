#pragma once

#include <cstdint>
#include <functional>

#include "core/methods/method.hpp"

namespace bitgrid {

// Flexible dual binarization (DB-LLM, Chen et al. 2024) without training: two bit planes with a
// scale each, see kernels/fdb_rows.hpp. `fdb` needs no data; `fdb-gptq` weights errors by the
// columns' input energy and feeds them back as GPTQ does.
std::vector<QuantizedLinear> round_fdb(const Place& place, const TapTask& task, TapWork& work);
std::vector<QuantizedLinear> round_fdb_gptq(const Place& place, const TapTask& task, TapWork& work);

// One linear of format "two-binary" while its rows are being solved.
struct FdbRows {
  FdbRows(std::int64_t rows, std::int64_t cols, std::int64_t group);
  RowBlock block(std::function<void(std::int64_t first, std::int64_t count)> solve);
  double total_loss() const;  // in row order

  Matrix<std::uint8_t> codes;              // [rows, cols], 2·b₁ + b₂
  Matrix<std::uint16_t> scales1, scales2;  // [rows, groups] fp16 bits
  Matrix<double> loss;                     // [rows, 1]
};

// Packs finished rows into what is stored:
//   plane1, plane2 [rows, cols], one bit each    scales1, scales2 [rows, groups] fp16
QuantizedLinear assemble_two_binary(const LinearTask& task, const FdbRows& rows);

}  // namespace bitgrid
