#include "core/methods/recipe.hpp"

#include <fmt/format.h>

#include <optional>

#include "core/methods/registry.hpp"

namespace bitgrid {
namespace {

struct TextOf {
  std::string operator()(bool v) const { return v ? "true" : "false"; }
  std::string operator()(std::int64_t v) const { return fmt::format("{}", v); }
  std::string operator()(double v) const {
    return fmt::format("{}", v);
  }  // shortest that reads back
  std::string operator()(const std::string& v) const { return v; }
};

std::optional<OptionValue> default_of(const Recipe& recipe, const std::string& key) {
  for (const std::string& name : recipe.chain) {
    const Method* method = find_method(name);
    if (method == nullptr) continue;
    for (const OptionSpec& spec : method->options)
      if (spec.key == key) return spec.fallback;
  }
  return std::nullopt;
}

// Rounding to nearest behind a transform is what goes without saying.
std::vector<std::string> named_chain(const Recipe& recipe) {
  std::vector<std::string> chain = recipe.chain;
  if (chain.size() > 1 && chain.back() == "rtn") chain.pop_back();
  return chain;
}

}  // namespace

Recipe recipe_for_linear(const Recipe& recipe, std::int64_t, Linear) { return recipe; }

std::string option_text(const OptionValue& value) { return std::visit(TextOf{}, value); }

std::string recipe_name(const Recipe& recipe) {
  if (!recipe.quantizes()) return "fp16";
  std::string name = fmt::format("{}-w{}", fmt::join(named_chain(recipe), "+"), recipe.bits);
  if (const auto a = recipe.options.find("activation_bits"); a != recipe.options.end())
    name += "-a" + option_text(a->second);
  name += recipe.group < 0 ? std::string("-pc") : fmt::format("-g{}", recipe.group);
  for (const auto& [key, value] : recipe.options) {  // a map: alphabetical
    if (key == "activation_bits" || default_of(recipe, key) == value) continue;
    name += fmt::format("-{}={}", key, option_text(value));
  }
  return name;
}

std::string recipe_canonical(const Recipe& recipe) {
  std::string text = fmt::format("chain={}\nbits={}\ngroup={}\n", fmt::join(recipe.chain, "+"),
                                 recipe.bits, recipe.group);
  for (const auto& [key, value] : recipe.options)
    text += fmt::format("option.{}={}\n", key, option_text(value));
  return text;
}

}  // namespace bitgrid
