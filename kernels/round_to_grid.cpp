#include "kernels/round_to_grid.hpp"

#include <string>

#include "kernels/error.hpp"

namespace bitgrid {
namespace {

// Grids [rows, groups] that fit codes or weights [rows, in], and groups that exist.
void check_grids(const char* operation, std::int64_t rows, std::int64_t in,
                 std::span<const std::int32_t> group_of, MatrixView<const float> scales,
                 MatrixView<const std::uint8_t> zeros) {
  const std::string name = operation;
  if (static_cast<std::int64_t>(group_of.size()) != in)
    throw Error(name + ": group_of must have one entry per column, in = " + std::to_string(in));
  if (scales.rows != rows || zeros.rows != rows || zeros.cols != scales.cols)
    throw Error(name +
                ": scales and zeros must both be [rows, groups], rows = " + std::to_string(rows));
  for (const std::int32_t group : group_of)
    if (group < 0 || group >= scales.cols)
      throw Error(name + ": group " + std::to_string(group) + " of " + std::to_string(scales.cols));
}

}  // namespace

void fit_grid(const Place& place, const UniformGrid& grid, MatrixView<const float> w,
              std::int64_t group, MatrixView<float> scales, MatrixView<std::uint8_t> zeros) {
  if (grid.bits < 2 || grid.bits > 8)
    throw Error("fit_grid: bits must be 2 to 8, not " + std::to_string(grid.bits));
  if (group < 1 || w.cols % group != 0)
    throw Error("fit_grid: group " + std::to_string(group) + " does not divide " +
                std::to_string(w.cols) + " columns");
  const std::int64_t groups = w.cols / group;
  if (scales.rows != w.rows || scales.cols != groups || zeros.rows != w.rows ||
      zeros.cols != groups)
    throw Error("fit_grid: scales and zeros must be [" + std::to_string(w.rows) + ", " +
                std::to_string(groups) + "]");
  switch (place.device) {
    case Device::cpu:
      return cpu::fit_grid(place, grid, w, group, scales, zeros);
    case Device::cuda:
      return cuda::fit_grid(place, grid, w, group, scales, zeros);
  }
}

void round_to_grid(const Place& place, const UniformGrid& grid, MatrixView<const float> w,
                   std::span<const std::int32_t> group_of, MatrixView<const float> scales,
                   MatrixView<const std::uint8_t> zeros, MatrixView<std::uint8_t> codes) {
  check_grids("round_to_grid", w.rows, w.cols, group_of, scales, zeros);
  if (codes.rows != w.rows || codes.cols != w.cols)
    throw Error("round_to_grid: codes must have the shape of w");
  switch (place.device) {
    case Device::cpu:
      return cpu::round_to_grid(place, grid, w, group_of, scales, zeros, codes);
    case Device::cuda:
      return cuda::round_to_grid(place, grid, w, group_of, scales, zeros, codes);
  }
}

void dequantize(const Place& place, MatrixView<const std::uint8_t> codes,
                std::span<const std::int32_t> group_of, MatrixView<const float> scales,
                MatrixView<const std::uint8_t> zeros, MatrixView<float> w) {
  check_grids("dequantize", codes.rows, codes.cols, group_of, scales, zeros);
  if (w.rows != codes.rows || w.cols != codes.cols)
    throw Error("dequantize: w must have the shape of codes");
  switch (place.device) {
    case Device::cpu:
      return cpu::dequantize(place, codes, group_of, scales, zeros, w);
    case Device::cuda:
      return cuda::dequantize(place, codes, group_of, scales, zeros, w);
  }
}

}  // namespace bitgrid
