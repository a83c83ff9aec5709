#pragma once

#include <cstdint>

#include "kernels/grid.hpp"

namespace bitgrid::cpu {

// Rows of a weight are independent, so CPU code works on kLanes rows side by side: column j of such
// a panel is kLanes floats in a row, and every loop over lanes is a vector loop.
inline constexpr std::int64_t kLanes = 64;

// Scale and zero of one group for each lane.
//   w: `columns` columns, `stride` floats apart, kLanes values each    scale, zero: kLanes values
void fit_group_lanes(const UniformGrid& grid, const float* w, std::int64_t columns,
                     std::int64_t stride, float* scale, float* zero);

}  // namespace bitgrid::cpu
