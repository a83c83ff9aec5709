#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/methods/recipe.hpp"
#include "sweeps/sweep_reader.hpp"

namespace bitgrid {

// The cells of all [[grid]] tables, in the order of the file. In a [[grid]] the keys are axes in
// the order in which they are written, the first one outermost: method, group, bits gives a
// method's rows together, one block per group. A recipe that is listed twice is one cell.
//   lines: out: of each cell, see Sweep::cell_lines
std::vector<Recipe> expand_grids(const SweepSource& source, const TomlValue* grids,
                                 std::vector<int>& lines);

// The indices of the cells whose name matches one of the comma-separated shell patterns; all for
// "". Throws InputError for a pattern that matches none.
std::vector<std::int64_t> choose_cells(const std::vector<Recipe>& cells,
                                       const std::string& patterns);

}  // namespace bitgrid
