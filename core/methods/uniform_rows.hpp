#pragma once

#include <cstdint>
#include <span>

#include "core/methods/method.hpp"
#include "kernels/grid.hpp"

namespace bitgrid {

// Throws Error naming the first weight that is NaN or infinite; rows are counted from `first`.
void check_weights(const Place& place, MatrixView<const float> w, std::int64_t first = 0);

// Keeps the scales of finished rows, as they are or as fp16 bits. Throws Error naming row and group
// where one is too large for its stored type, and so infinite; rows are counted from `first`.
void store_scales(MatrixView<const float> scales, MatrixView<float> stored, std::int64_t first = 0);
void store_scales(MatrixView<const float> scales, MatrixView<std::uint16_t> stored,
                  std::int64_t first = 0);

// One linear of format "uniform" while its rows are being solved.
struct UniformRows {
  UniformRows(std::int64_t rows, std::int64_t cols, std::int64_t group);
  RowBlock block(std::function<void(std::int64_t first, std::int64_t count)> solve);
  double total_loss() const;  // in row order

  Matrix<std::uint8_t> codes;  // [rows, cols], original column order
  Matrix<float> scales;        // [rows, groups], rounded to the stored type
  Matrix<std::uint8_t> zeros;  // [rows, groups]
  Matrix<double> loss;         // [rows, 1]
};

// Scale and zero of every group of rows w, without feedback, and the codes: the whole of RTN.
//   scales [rows, groups] fp32, already rounded to the stored type
void round_rows_to_nearest(const Place& place, const UniformGrid& grid, std::int64_t group,
                           MatrixView<const float> w, MatrixView<float> scales,
                           MatrixView<std::uint8_t> zeros, MatrixView<std::uint8_t> codes);

// ‖w − q‖² of each row, q from codes and scales.
void row_errors(const Place& place, MatrixView<const float> w,
                std::span<const std::int32_t> group_of, MatrixView<const float> scales,
                MatrixView<const std::uint8_t> zeros, MatrixView<const std::uint8_t> codes,
                double* errors);

// Packs finished rows into what is stored: codes, scales (fp16, or fp32 where the recipe's grid
// says so) and, unless the grid is symmetric, zeros.
QuantizedLinear assemble_uniform(const LinearTask& task, const UniformRows& rows);

}  // namespace bitgrid
