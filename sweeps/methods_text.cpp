#include "sweeps/methods_text.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/methods/registry.hpp"
#include "core/methods/resolve_recipe.hpp"
#include "core/text/nearest_word.hpp"
#include "kernels/error.hpp"

namespace bitgrid {
namespace {

std::string bits_of(const Method& method) {
  if (!method.bits_legal.empty()) return fmt::format("{} bits", fmt::join(method.bits_legal, ", "));
  if (method.bits_min == method.bits_max) return fmt::format("{} bits", method.bits_min);
  return fmt::format("{} to {} bits{}", method.bits_min, method.bits_max,
                     method.bits_fractional ? ", fractions too" : "");
}

// What may be said of group.
std::string group_of(const Method& method) {
  return method.groups ? "group: columns per scale, a divisor of every row; -1: one for the row"
                       : "one scale per linear: group does not apply";
}

std::string kind_of(const Method& method) {
  switch (method.kind) {
    case MethodKind::baseline:
      return "baseline: nothing is quantized; takes no bits and no group";
    case MethodKind::transform:
      return fmt::format(
          "transform; alone it rounds to nearest, before another: {}+gptq\n    bits and group are "
          "those of the rounding behind it",
          method.name);
    case MethodKind::rotation:
      return fmt::format("rotation, before {}\n    bits are those of the rounding behind it; {}",
                         fmt::join(method.rules, ", "), group_of(method));
    case MethodKind::rounding:
      break;
  }
  return fmt::format("{}; {}", bits_of(method), group_of(method));
}

std::string legal_values(const OptionSpec& option) {
  if (!option.choices.empty() && std::holds_alternative<std::string>(option.fallback))
    return fmt::format(" ({})", fmt::join(option.choices, ", "));
  return "";
}

std::string default_text(const OptionSpec& option) {
  if (option.key == activation_bits_option().key) return "bits";  // what 0 stands for
  const std::string fallback = option_text(option.fallback);
  return fallback.empty() ? "\"\"" : fallback;
}

// budget is written like bits, in their place.
std::string option_lines(const OptionSpec& option) {
  if (option.key == "budget")
    return "    budget = BITS, instead of bits\n        an average over the linears, everything "
           "that "
           "is stored counted\n";
  return fmt::format("    {} = {}\n        {}{}{}\n", option.key, default_text(option), option.help,
                     legal_values(option), option.uniform_only ? "; only before rtn and gptq" : "");
}

bool has_option(const Method& method, std::string_view key) {
  return std::any_of(method.options.begin(), method.options.end(),
                     [&](const OptionSpec& option) { return option.key == key; });
}

// Every chain that quantizes takes it; tuning goes without.
std::string activation_lines(bool tunes) {
  return fmt::format("    activation_bits = 16\n        bits of the linears' inputs; {}\n",
                     tunes ? "nothing but 16, not quantized, is legal here"
                           : "2 to 15: on a grid of each token; 16: not quantized");
}

std::string method_text(const Method& method) {
  std::string out = fmt::format("{}  {}\n", method.name, method.title);
  if (!method.later.empty())
    return out + fmt::format("    not in this version: {}\n", method.later);
  out += fmt::format("    {}\n", kind_of(method));
  for (const OptionSpec& option : method.options) out += option_lines(option);
  if (method.kind == MethodKind::rounding && !has_option(method, "activation_bits"))
    out += activation_lines(method.tune != nullptr);
  return out;
}

std::string part_text(const Method& method) {
  switch (method.kind) {
    case MethodKind::transform:
      return "transforms the layer";
    case MethodKind::rotation:
      return "rotates its weights";
    default:
      return "rounds";
  }
}

// A chain: its parts in order, and the options of all of them; of one key the first part's counts.
std::string chain_text(const std::string& chain) {
  const Recipe recipe =
      resolve_recipe(chain, legal_bits(chain), -1, {{"activation_bits", std::int64_t{16}}});
  std::string titles, parts, options;
  std::vector<std::string_view> seen;
  const Method* rounding = find_method(recipe.chain.back());
  const Method* grouping = rounding;
  for (const std::string& name : recipe.chain) {
    const Method& method = *find_method(name);
    if (method.kind == MethodKind::rotation) grouping = &method;
    titles += (titles.empty() ? "" : " + ") + std::string(method.title);
    parts += fmt::format("{}{} {}", parts.empty() ? "" : ", then ", name, part_text(method));
    for (const OptionSpec& option : method.options) {
      const bool known = recipe.options.contains(std::string(option.key));
      if (!known || std::find(seen.begin(), seen.end(), option.key) != seen.end()) continue;
      seen.push_back(option.key);
      options += option_lines(option);
    }
  }
  if (!recipe.options.contains("activation_bits"))
    options += activation_lines(rounding->tune != nullptr);
  return fmt::format("{}  {}\n    chain: {}\n    {}; {}\n{}", chain, titles, parts,
                     bits_of(*rounding), group_of(*grouping), options);
}

constexpr const char* kFooter =
    "\nA chain is methods joined by +: transforms, perhaps a rotation right before the rounding, "
    "one "
    "rounding.\n`bitgrid methods awq+gptq` shows one with the options of all its parts.\n";

}  // namespace

std::string methods_text(const std::string& name) {
  if (name.find('+') != std::string::npos) return chain_text(name);
  std::string out;
  std::vector<std::string> names;
  for (const Method& method : all_methods()) {
    names.emplace_back(method.name);
    if (name.empty() || name == method.name) out += (out.empty() ? "" : "\n") + method_text(method);
  }
  if (!out.empty()) return name.empty() ? out + kFooter : out;
  const std::string near = nearest_word(name, names);
  throw InputError(fmt::format("unknown method '{}'; known are {}{}", name, fmt::join(names, ", "),
                               near.empty() ? "" : fmt::format("; did you mean '{}'?", near)));
}

}  // namespace bitgrid
