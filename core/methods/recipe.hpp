#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "core/model/linear.hpp"

namespace bitgrid {

using OptionValue = std::variant<bool, std::int64_t, double, std::string>;

// One way to quantize: a chain of methods, bits, group and every option resolved, defaults filled
// in.
struct Recipe {
  std::vector<std::string>
      chain;  // {"gptq"}; {"awq", "gptq"}; the last one rounds. {"fp16"}: nothing is quantized
  double bits = 16;
  std::int64_t group = -1;                     // −1: one group per row (per channel)
  std::map<std::string, OptionValue> options;  // every option of every method in the chain
  // Where `bits` is a budget: the bits of each linear, layer after layer, once they are chosen.
  // They follow from recipe, model and calibration, and are no part of what a cell is called.
  std::vector<double> chosen_bits = {};
  bool operator==(const Recipe&) const = default;

  // `bits` is what a weight may take on average, everything that is stored counted.
  bool has_budget() const {
    const auto found = options.find("budget");
    return found != options.end() && std::get<bool>(found->second);
  }

  bool quantizes() const { return chain != std::vector<std::string>{"fp16"}; }
  bool flag(const std::string& key) const { return std::get<bool>(options.at(key)); }
  double number(const std::string& key) const { return std::get<double>(options.at(key)); }
  const std::string& word(const std::string& key) const {
    return std::get<std::string>(options.at(key));
  }
};

// The recipe of one linear of one layer: mixed precision resolved.
Recipe recipe_for_linear(const Recipe& recipe, std::int64_t layer, Linear linear);

// "true", "0.01", "act": the same text everywhere (names, keys, files).
std::string option_text(const OptionValue& value);

// The chain as it is written: rounding to nearest behind a transform goes without saying.
std::vector<std::string> named_chain(const Recipe& recipe);

// "gptq-w4-g32-order=none": methods joined by + (without the rtn that
// follows a transform by itself), weight bits, -a and activation bits if any, group (or -pc), then
// options that differ from their default, keys in alphabetical order. The baseline is "fp16".
std::string recipe_name(const Recipe& recipe);
// Every field and option as text, one per line: what a cell's key is hashed from.
std::string recipe_canonical(const Recipe& recipe);

}  // namespace bitgrid
