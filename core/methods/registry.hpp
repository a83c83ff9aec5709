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
  bool uniform_only = false;  // of transforms: only before a rounding onto a uniform grid
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
  bool groups = true;    // roundings: false if one scale serves a linear; the group
                         // of a recipe is then -1
  bool uniform = false;  // roundings: each group onto one uniform grid (recipe_grid)
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

// Every chain that quantizes takes this one; 0 stands for the bits of the weights.
OptionSpec activation_bits_option();

}  // namespace bitgrid
