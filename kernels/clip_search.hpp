#pragma once

#include <cstdint>

#include "kernels/grid.hpp"
#include "kernels/matrix.hpp"
#include "kernels/place.hpp"

namespace bitgrid {

// Bounds that a group's weights may be clamped to: ±M·(1 − i/kClipGrid), M = max|w|, for
// i = 0 … kClipSteps − 1.
inline constexpr int kClipGrid = 20;
inline constexpr int kClipSteps = 10;
inline float clip_bound(float largest, int step) {
  return largest * static_cast<float>(1.0 - static_cast<double>(step) / kClipGrid);
}

// For each group of each row the step whose clamped and rounded weights ŵ leave the group's own
// output closest: the smallest δ C δᵀ, δ = ŵ − w (AWQ, Lin et al. 2024, as its code does it). The
// grid is fitted after clamping. Ties keep the wider bound.
//   w [rows, in]    c [in, group]: C = Σ x xᵀ of each group's inputs, [group, group] symmetric,
//   blocks one below the other    steps [rows, in/group]
void search_clip(const Place& place, const UniformGrid& grid, MatrixView<const float> w,
                 MatrixView<const float> c, MatrixView<std::uint8_t> steps);

// Clamps each group to the bound of its step.
void clip_groups(const Place& place, MatrixView<const std::uint8_t> steps, MatrixView<float> w);

namespace cpu {
void search_clip(const Place& place, const UniformGrid& grid, MatrixView<const float> w,
                 MatrixView<const float> c, MatrixView<std::uint8_t> steps);
void clip_groups(const Place& place, MatrixView<const std::uint8_t> steps, MatrixView<float> w);
}  // namespace cpu
namespace cuda {
void search_clip(const Place& place, const UniformGrid& grid, MatrixView<const float> w,
                 MatrixView<const float> c, MatrixView<std::uint8_t> steps);
void clip_groups(const Place& place, MatrixView<const std::uint8_t> steps, MatrixView<float> w);
}  // namespace cuda

}  // namespace bitgrid
