#pragma once

#include <cstdint>

#include "kernels/grid.hpp"

namespace bitgrid::cpu {

// CPU building blocks for code that works on rows as they lie, group after group.

// lo[g], hi[g]: smallest and largest of the row's group g.
void group_ranges(const float* row, std::int64_t in, std::int64_t group, float* lo, float* hi);

// Scale and zero of ranges that widen_range has not seen yet. lo, hi [count] are changed.
void fit_ranges(const UniformGrid& grid, std::int64_t count, float* lo, float* hi, float* scale,
                float* zero);

// y[j] = the value that w[j] rounds to.
void round_values(const float* w, std::int64_t count, float scale, float zero, float maxq,
                  float* y);

}  // namespace bitgrid::cpu
