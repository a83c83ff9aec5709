#pragma once

#include "core/methods/recipe.hpp"
#include "core/model/cost.hpp"

namespace bitgrid {

// Floating-point operations by which a recipe quantizes one layer; a multiply-add counts as two.
// Leading terms: to tell minutes from hours, not to compare two ways of doing the same.
struct LayerCost {
  double walks = 0;       // calibration windows through the layer
  double searches = 0;    // windows through what is tried, and tuned, for this recipe alone
  double statistics = 0;  // Gram matrices
  double factorization = 0;
  double solve = 0;  // rounding, with all that rows do by themselves, and measuring the errors
  double elementwise = 0;  // what searches and solve hold beside matrix products
};
LayerCost layer_cost(const Recipe& recipe, const LlamaConfig& config, const Workload& calibration);

// Whether cells may share a factor: what it depends on beside the statistics.
std::string factor_name(const Recipe& recipe);

}  // namespace bitgrid
