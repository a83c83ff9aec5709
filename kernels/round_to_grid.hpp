#pragma once

#include <cstdint>
#include <span>

#include "kernels/grid.hpp"
#include "kernels/matrix.hpp"
#include "kernels/place.hpp"

namespace bitgrid {

// Scale and zero of every group of every row.
//   w [rows, in]    scales, zeros [rows, in/group]; group = in: one group per row; group must
//   divide in
// Weights must be finite.
void fit_grid(const Place& place, const UniformGrid& grid, MatrixView<const float> w,
              std::int64_t group, MatrixView<float> scales, MatrixView<std::uint8_t> zeros);

// Codes of w on grids that are already there. group_of [in]: the group of each column.
void round_to_grid(const Place& place, const UniformGrid& grid, MatrixView<const float> w,
                   std::span<const std::int32_t> group_of, MatrixView<const float> scales,
                   MatrixView<const std::uint8_t> zeros, MatrixView<std::uint8_t> codes);

// w = scale·(code − zero); scale·integer is one fp32 product, so every build gives the same weight.
void dequantize(const Place& place, MatrixView<const std::uint8_t> codes,
                std::span<const std::int32_t> group_of, MatrixView<const float> scales,
                MatrixView<const std::uint8_t> zeros, MatrixView<float> w);

namespace cpu {
void fit_grid(const Place& place, const UniformGrid& grid, MatrixView<const float> w,
              std::int64_t group, MatrixView<float> scales, MatrixView<std::uint8_t> zeros);
void round_to_grid(const Place& place, const UniformGrid& grid, MatrixView<const float> w,
                   std::span<const std::int32_t> group_of, MatrixView<const float> scales,
                   MatrixView<const std::uint8_t> zeros, MatrixView<std::uint8_t> codes);
void dequantize(const Place& place, MatrixView<const std::uint8_t> codes,
                std::span<const std::int32_t> group_of, MatrixView<const float> scales,
                MatrixView<const std::uint8_t> zeros, MatrixView<float> w);
}  // namespace cpu
namespace cuda {
void fit_grid(const Place& place, const UniformGrid& grid, MatrixView<const float> w,
              std::int64_t group, MatrixView<float> scales, MatrixView<std::uint8_t> zeros);
void round_to_grid(const Place& place, const UniformGrid& grid, MatrixView<const float> w,
                   std::span<const std::int32_t> group_of, MatrixView<const float> scales,
                   MatrixView<const std::uint8_t> zeros, MatrixView<std::uint8_t> codes);
void dequantize(const Place& place, MatrixView<const std::uint8_t> codes,
                std::span<const std::int32_t> group_of, MatrixView<const float> scales,
                MatrixView<const std::uint8_t> zeros, MatrixView<float> w);
}  // namespace cuda

}  // namespace bitgrid
