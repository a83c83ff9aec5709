#include "core/methods/budget.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/methods/recipe_needs.hpp"
#include "core/methods/registry.hpp"
#include "core/methods/storage.hpp"
#include "core/model/linear.hpp"
#include "kernels/error.hpp"

namespace bitgrid {
namespace {

constexpr double kThousand = 1000;

std::string with_what(const Recipe& recipe) {
  std::string text = recipe.group < 0 ? std::string("one group per row")
                                      : fmt::format("groups of {}", recipe.group);
  const auto mix = recipe.options.find("mix");
  if (mix != recipe.options.end() && !std::get<std::string>(mix->second).empty())
    text += " and the bits that mix fixes";
  return text;
}

}  // namespace

Recipe with_bits(const Recipe& recipe, double bits) {
  Recipe own = recipe;
  own.options["budget"] = false;
  own.bits = bits;
  return own;
}

std::vector<double> budget_choices(const Recipe& recipe) {
  const Method* rounding = find_method(recipe.chain.back());
  std::vector<double> bits;
  for (int b = rounding->bits_min; b <= rounding->bits_max; ++b) bits.push_back(b);
  return bits;
}

std::optional<double> fixed_bits(const Recipe& recipe, std::int64_t layer, Linear linear) {
  const Recipe own = recipe_for_linear(with_bits(recipe, 0), layer, linear);
  if (own.bits > 0) return own.bits;
  return std::nullopt;
}

BudgetRange budget_range(const Recipe& recipe, const LlamaConfig& config) {
  const std::vector<double> choices = budget_choices(recipe);
  BudgetRange range;
  for (std::int64_t layer = 0; layer < config.layer_count; ++layer)
    for (const Linear linear : kLinears) {
      const std::int64_t rows = linear_rows(config, linear), cols = linear_cols(config, linear);
      const auto stored = [&](double bits) {
        return 8 * stored_bytes(with_bits(recipe, bits), linear, rows, cols).required;
      };
      const auto fixed = fixed_bits(recipe, layer, linear);
      range.weights += rows * cols;
      range.fewest += stored(fixed.value_or(choices.front()));
      range.most += stored(fixed.value_or(choices.back()));
    }
  return range;
}

std::int64_t budget_limit(double bits, std::int64_t weights) {
  return static_cast<std::int64_t>(std::floor(bits * static_cast<double>(weights)));
}

void check_budget_fits(const Recipe& recipe, const LlamaConfig& config) {
  if (!recipe.has_budget()) return;
  const BudgetRange range = budget_range(recipe, config);
  if (range.fewest <= budget_limit(recipe.bits, range.weights)) return;
  // Rounded up, so that the number that is named would do.
  throw InputError(fmt::format(
      "a budget of {} bits per weight cannot be met: with {} these linears need at least {}",
      recipe.bits, with_what(recipe),
      std::ceil(range.fewest_per_weight() * kThousand) / kThousand));
}

std::string budget_warning(const Recipe& recipe, const LlamaConfig& config) {
  if (!recipe.has_budget()) return "";
  const BudgetRange range = budget_range(recipe, config);
  if (budget_limit(recipe.bits, range.weights) <= range.most) return "";
  return fmt::format(
      "a budget of {} bits per weight is more than the {:.4g} that these linears can take at most "
      "with {}",
      recipe.bits, range.most_per_weight(), with_what(recipe));
}

}  // namespace bitgrid
