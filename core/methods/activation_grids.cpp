#include "core/methods/activation_grids.hpp"

#include <algorithm>

#include "kernels/error.hpp"

namespace bitgrid {
namespace {

template <class T>
T option_or(const Recipe& recipe, const std::string& key, T fallback) {
  const auto found = recipe.options.find(key);
  return found == recipe.options.end() ? fallback : std::get<T>(found->second);
}

}  // namespace

bool static_activations(const Recipe& recipe) {
  return option_or<std::int64_t>(recipe, "activation_bits", 16) < 16 &&
         option_or<std::string>(recipe, "activation_range", "token") == "static";
}

ActivationGrids recipe_activation_grids(const Recipe& recipe) {
  const std::string range = option_or<std::string>(recipe, "activation_range", "token");
  ActivationGrid grid;
  grid.bits = static_cast<int>(option_or<std::int64_t>(recipe, "activation_bits", 16));
  grid.symmetric = option_or(recipe, "activation_symmetric", true);
  grid.range = range == "static"   ? RangeOf::fixed
               : range == "tensor" ? RangeOf::tensor
                                   : RangeOf::token;
  ActivationGrids grids;
  grids.taps.fill(grid);
  grids.qkv = grid;
  grids.qkv.bits = static_cast<int>(option_or<std::int64_t>(recipe, "qkv_bits", 16));
  if (grid.range == RangeOf::fixed) grids.qkv.range = RangeOf::token;
  return grids;
}

void check_activation_options(const Recipe& recipe) {
  if (!static_activations(recipe)) return;
  if (!option_or(recipe, "activation_symmetric", true))
    throw InputError(
        "activation_range = \"static\" needs activation_symmetric = true: only magnitudes are "
        "calibrated");
  // A transform behind it would change the inputs whose scales are fixed.
  for (std::size_t i = 0; i + 2 < recipe.chain.size(); ++i)
    if (recipe.chain[i] == "smoothquant")
      throw InputError(
          "activation_range = \"static\": smoothquant must be the last transform of its chain");
}

}  // namespace bitgrid
