#pragma once

#include "core/methods/recipe.hpp"
#include "core/model/weights.hpp"

namespace bitgrid {

// The grids that a recipe puts activations on. Options, each open to a recipe that lacks it:
//   activation_bits  16: none
//   activation_symmetric, activation_range  "token", "tensor", "static": see ActivationGrid; the
//                    scales of static ones are the layer's own and still missing here
//   qkv_bits         of the outputs of q, k and v; 16: none. By token where the rest is static.
ActivationGrids recipe_activation_grids(const Recipe& recipe);
bool static_activations(const Recipe& recipe);

// Throws InputError where options exclude each other.
void check_activation_options(const Recipe& recipe);

}  // namespace bitgrid
