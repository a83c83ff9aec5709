#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/methods/method.hpp"
#include "core/methods/recipe.hpp"

namespace bitgrid {

// An option key that belongs to a method.
struct OptionSpec {
  std::string_view key;
  std::string_view help;
  OptionValue fallback;                   // the default; its type is the option's type
  std::vector<std::string> choices;       // for words: what is legal; empty: anything. For numbers:
                                          // words that are legal, too
  double number_min = 0, number_max = 0;  // for numbers
};

// A rotation turns weights and rounds them with the rule of the method behind it.
enum class MethodKind { baseline, transform, rotation, rounding };

struct Method {
  std::string_view name;
  MethodKind kind;
  std::string_view title;          // "GPTQ", for tables
  int bits_min = 0, bits_max = 0;  // roundings: legal weight bits
  bool bits_fractional = false;    // any number between them, not only whole ones
  std::vector<double> bits_legal;  // not empty: only these
  std::vector<OptionSpec> options;
  StatisticsNeeds needs;
  bool groups = true;  // roundings: false if one scale serves a linear; the group
                       // of a recipe is then -1
  std::vector<std::string_view> rules{};  // rotations: which roundings may follow
  RoundTap round = nullptr;               // kinds rotation and rounding
  StartTransform start = nullptr;         // kind transform
  // What no option can tell by itself; throws InputError.
  void (*check)(const Recipe&) = nullptr;
  TuneLayer tune = nullptr;  // roundings that look at the whole layer afterwards; needs.gram
  std::string_view later;    // not empty: known, not in this version; why and what it is
};

std::span<const Method> all_methods();  // in table order
const Method* find_method(std::string_view name);

// A recipe checked and completed; where several methods of a chain have an option of the same key,
// the first one's default holds. Chain names, bits, group, options by key. Throws InputError in
// one sentence that names the offending key or value, what is legal and, for an unknown key or
// method, the nearest valid one. group is checked against a linear's columns by check_group.
Recipe resolve_recipe(const std::string& method_chain, double bits, std::int64_t group,
                      const std::map<std::string, OptionValue>& options);
// Throws InputError unless the group is −1 or a divisor of cols.
void check_group(const Recipe& recipe, std::string_view linear, std::int64_t cols);

// What the chain's methods need of the calibration.
struct RecipeNeeds {
  std::vector<StatisticsNeeds> transforms;  // one for each transform of the chain
  StatisticsNeeds rounding;
  bool any() const;
};
RecipeNeeds recipe_needs(const Recipe& recipe);
RoundTap recipe_rounding(const Recipe& recipe);
TuneLayer recipe_tuning(const Recipe& recipe);  // null: none
std::vector<StartTransform> recipe_transforms(const Recipe& recipe);

// Whether a cell of this recipe depends on the calibration text: by its statistics, or by the bits
// that were chosen with it.
bool uses_calibration(const Recipe& recipe);

// Whether calibration windows reach every layer as the unquantized model gives them: recipes that
// only transform and round to nearest, and those that ask for it (inputs = "full"). Such cells can
// share walks, statistics and factors.
bool recipe_full_inputs(const Recipe& recipe);

// The word of `words` closest to `text` by edit distance, or "" if none is close.
std::string nearest_word(std::string_view text, std::span<const std::string> words);

}  // namespace bitgrid
