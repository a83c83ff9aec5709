#include "core/methods/recipe.hpp"

#include <fmt/format.h>

#include <optional>

#include "core/methods/mixed_precision.hpp"
#include "core/methods/registry.hpp"
#include "kernels/error.hpp"

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

}  // namespace

std::vector<std::string> named_chain(const Recipe& recipe) {
  std::vector<std::string> chain = recipe.chain;
  if (chain.size() < 2 || chain.back() != "rtn") return chain;
  const Method* before = find_method(chain[chain.size() - 2]);
  if (before != nullptr && before->kind == MethodKind::transform) chain.pop_back();
  return chain;
}

Recipe recipe_for_linear(const Recipe& recipe, std::int64_t layer, Linear linear) {
  Recipe own = recipe;
  own.chosen_bits.clear();
  if (recipe.has_budget()) {
    const auto index = static_cast<std::size_t>(layer * kLinearCount + static_cast<int>(linear));
    BITGRID_ASSERT(index < recipe.chosen_bits.size());
    own.bits = recipe.chosen_bits[index];
  }
  if (const auto mix = recipe.options.find("mix"); mix != recipe.options.end())
    for (const BitsRule& rule : parse_mix(std::get<std::string>(mix->second)))
      if (rule_matches(rule, layer, linear)) own.bits = rule.bits;
  return own;
}

std::string option_text(const OptionValue& value) { return std::visit(TextOf{}, value); }

std::string recipe_name(const Recipe& recipe) {
  if (!recipe.quantizes()) return "fp16";
  const char* kind = recipe.has_budget() ? "b" : "w";
  std::string name = fmt::format("{}-{}{}", fmt::join(named_chain(recipe), "+"), kind, recipe.bits);
  if (const auto a = recipe.options.find("activation_bits"); a != recipe.options.end())
    name += "-a" + option_text(a->second);
  name += recipe.group < 0 ? std::string("-pc") : fmt::format("-g{}", recipe.group);
  for (const auto& [key, value] : recipe.options) {  // a map: alphabetical
    if (key == "activation_bits" || key == "budget" || default_of(recipe, key) == value) continue;
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
