#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/methods/recipe.hpp"
#include "core/model/linear.hpp"
#include "core/model/llama_config.hpp"

namespace bitgrid {

// The recipe of a linear that a budget gives so many bits.
Recipe with_bits(const Recipe& recipe, double bits);
// The bits that a budget chooses among.
std::vector<double> budget_choices(const Recipe& recipe);
// The bits that a rule of `mix` gives this linear; nothing: the budget is free to choose.
std::optional<double> fixed_bits(const Recipe& recipe, std::int64_t layer, Linear linear);

// What a budget may spend on a model's linears, from their shapes alone: stored bits, everything
// that rebuilding needs counted.
struct BudgetRange {
  std::int64_t weights = 0;
  std::int64_t fewest = 0, most = 0;
  double fewest_per_weight() const {
    return static_cast<double>(fewest) / static_cast<double>(weights);
  }
  double most_per_weight() const {
    return static_cast<double>(most) / static_cast<double>(weights);
  }
};
BudgetRange budget_range(const Recipe& recipe, const LlamaConfig& config);

// The stored bits that a budget of `bits` per weight allows.
std::int64_t budget_limit(double bits, std::int64_t weights);

// Throws InputError where even the fewest bits are more than the budget.
void check_budget_fits(const Recipe& recipe, const LlamaConfig& config);
// Where the budget is more than can be spent: one sentence. Else "".
std::string budget_warning(const Recipe& recipe, const LlamaConfig& config);

}  // namespace bitgrid
