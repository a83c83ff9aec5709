#pragma once

#include <vector>

#include "core/methods/registry.hpp"

namespace bitgrid {

// What the chain's methods need of the calibration.
struct RecipeNeeds {
  std::vector<StatisticsNeeds> transforms;  // one for each transform of the chain
  StatisticsNeeds rounding;
  bool any() const;
};
RecipeNeeds recipe_needs(const Recipe& recipe);
RoundTap recipe_rounding(const Recipe& recipe);
TuneLayer recipe_tuning(const Recipe& recipe);  // null: none
bool rounds_uniformly(const Recipe& recipe);    // onto recipe_grid
std::vector<StartTransform> recipe_transforms(const Recipe& recipe);

// Whether a cell of this recipe depends on the calibration text: by its statistics, or by the bits
// that were chosen with it.
bool uses_calibration(const Recipe& recipe);

// Whether calibration windows reach every layer as the unquantized model gives them: recipes that
// only transform and round to nearest, and those that ask for it (inputs = "full"). Such cells can
// share walks, statistics and factors.
bool recipe_full_inputs(const Recipe& recipe);

// Whose rule rounds, and with whose options: of a chain's methods a rotation, if there is one, else
// the last.
const Method& rounding_of(const std::vector<const Method*>& methods);

}  // namespace bitgrid
