#pragma once

#include <cstdint>
#include <vector>

#include "core/methods/recipe.hpp"
#include "kernels/grid.hpp"

namespace bitgrid {

// The grid that a recipe asks for (formulas: kernels/grid.hpp). Scales are stored, and hence
// rounded, as fp16; those of full-range grids, which stand for int8 tensors, as fp32.
UniformGrid recipe_grid(const Recipe& recipe);

// The grid by which a transform judges what rounding to nearest would lose: the recipe's own, where
// its rounding has one. Roundings of other kinds are stood for by an asymmetric grid of the bits
// rounded up, at least 2 and at most 8: 2 for 1.1 and 1.7 bits and for two-binary weights.
UniformGrid trial_grid(const Recipe& recipe);

// Columns per group in a linear with `cols` columns; throws InputError where the recipe's group
// does not divide them.
std::int64_t group_size(const Recipe& recipe, std::int64_t cols);

// Groups of a row with `cols` columns; group −1 is one.
std::int64_t group_count(std::int64_t cols, std::int64_t group);

// floor(j / group) for each column j.
std::vector<std::int32_t> natural_groups(std::int64_t cols, std::int64_t group);

}  // namespace bitgrid
