#pragma once

#include <cstdint>
#include <span>

#include "kernels/grid.hpp"

namespace bitgrid::cpu {

// Rows of a weight are independent, so CPU code works on kLanes rows side by side: column j of such
// a panel is kLanes floats in a row, and every loop over lanes is a vector loop.
inline constexpr std::int64_t kLanes = 64;

// Scale and zero of one group for each lane.
//   w: `columns` columns, `stride` floats apart, kLanes values each    scale, zero: kLanes values
void fit_group_lanes(const UniformGrid& grid, const float* w, std::int64_t columns,
                     std::int64_t stride, float* scale, float* zero);

// A search of the range: it is multiplied by each factor, and the first with the smallest error
// wins. The error is Σ|deq(w) − w|^2.4, each power times the weight of its element, or, with column
// weights, Σ weight·(deq(w) − w)².
struct RangeSearch {
  std::span<const float> factors;
  const float* column_weights = nullptr;   // one per column, or null
  const float* element_weights = nullptr;  // laid out as w, or null: all 1
};
void search_group_lanes(const UniformGrid& grid, const RangeSearch& search, const float* w,
                        std::int64_t columns, std::int64_t stride, float* scale, float* zero);

}  // namespace bitgrid::cpu
