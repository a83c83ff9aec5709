#include "core/methods/recipe_needs.hpp"

#include <algorithm>

#include "core/methods/registry.hpp"
#include "kernels/error.hpp"

namespace bitgrid {
namespace {

const Method* rounding_of(const Recipe& recipe) {
  std::vector<const Method*> methods;
  for (const std::string& name : recipe.chain) {
    methods.push_back(find_method(name));
    if (methods.back() == nullptr) return nullptr;
  }
  return methods.empty() ? nullptr : &rounding_of(methods);
}

}  // namespace

const Method& rounding_of(const std::vector<const Method*>& methods) {
  const bool rotates =
      methods.size() > 1 && methods[methods.size() - 2]->kind == MethodKind::rotation;
  return *methods[methods.size() - (rotates ? 2 : 1)];
}

bool RecipeNeeds::any() const {
  return rounding.any() || std::any_of(transforms.begin(), transforms.end(),
                                       [](const StatisticsNeeds& n) { return n.any(); });
}

RecipeNeeds recipe_needs(const Recipe& recipe) {
  RecipeNeeds needs;
  for (const std::string& name : recipe.chain) {
    const Method* method = find_method(name);
    if (method != nullptr && method->kind == MethodKind::transform)
      needs.transforms.push_back(method->needs);
  }
  if (const Method* method = rounding_of(recipe)) needs.rounding = method->needs;
  return needs;
}

RoundTap recipe_rounding(const Recipe& recipe) {
  const Method* method = rounding_of(recipe);
  BITGRID_ASSERT(method != nullptr && method->round != nullptr);
  return method->round;
}

TuneLayer recipe_tuning(const Recipe& recipe) {
  const Method* method = recipe.chain.empty() ? nullptr : find_method(recipe.chain.back());
  return method == nullptr ? nullptr : method->tune;
}

bool rounds_uniformly(const Recipe& recipe) {
  const Method* method = rounding_of(recipe);
  return method != nullptr && method->uniform;
}

std::vector<StartTransform> recipe_transforms(const Recipe& recipe) {
  std::vector<StartTransform> transforms;
  for (const std::string& name : recipe.chain)
    if (const Method* method = find_method(name); method != nullptr && method->start != nullptr)
      transforms.push_back(method->start);
  return transforms;
}

bool uses_calibration(const Recipe& recipe) {
  return recipe.has_budget() || recipe_needs(recipe).any();
}

bool recipe_full_inputs(const Recipe& recipe) {
  if (!recipe_needs(recipe).rounding.any()) return true;
  const auto inputs = recipe.options.find("inputs");
  return inputs != recipe.options.end() && std::get<std::string>(inputs->second) == "full";
}

}  // namespace bitgrid
