#include "core/methods/grid.hpp"

#include <algorithm>
#include <cmath>

#include "core/methods/recipe_needs.hpp"
#include "core/methods/resolve_recipe.hpp"

namespace bitgrid {

namespace {

bool is_set(const Recipe& recipe, const char* key) {
  const auto option = recipe.options.find(key);
  return option != recipe.options.end() && std::get<bool>(option->second);
}

constexpr int kTrialBitsMin = 2, kTrialBitsMax = 8;  // of a uniform grid

}  // namespace

UniformGrid recipe_grid(const Recipe& recipe) {
  UniformGrid grid;
  grid.bits = static_cast<int>(recipe.bits);
  grid.symmetric = recipe.flag("symmetric");
  grid.mse = recipe.flag("mse");
  const auto is_set = [&](const char* key) { return bitgrid::is_set(recipe, key); };
  // The symmetric one of the grids that need not hold zero is the full-range grid.
  grid.full_range = grid.symmetric && (is_set("full_range") || is_set("minmax"));
  grid.minmax = !grid.symmetric && is_set("minmax");
  grid.scale_f16 = !(grid.symmetric && is_set("full_range"));
  return grid;
}

UniformGrid trial_grid(const Recipe& recipe) {
  if (rounds_uniformly(recipe)) return recipe_grid(recipe);
  UniformGrid grid;
  grid.bits = std::clamp(static_cast<int>(std::ceil(recipe.bits)), kTrialBitsMin, kTrialBitsMax);
  grid.minmax = is_set(recipe, "minmax");
  return grid;
}

std::int64_t group_size(const Recipe& recipe, std::int64_t cols) {
  check_group(recipe, "the linear", cols);
  return recipe.group < 0 ? cols : recipe.group;
}

std::int64_t group_count(std::int64_t cols, std::int64_t group) {
  return group < 0 ? 1 : (cols + group - 1) / group;
}

std::vector<std::int32_t> natural_groups(std::int64_t cols, std::int64_t group) {
  std::vector<std::int32_t> groups(static_cast<std::size_t>(cols));
  for (std::int64_t j = 0; j < cols; ++j)
    groups[static_cast<std::size_t>(j)] = static_cast<std::int32_t>(j / group);
  return groups;
}

}  // namespace bitgrid
