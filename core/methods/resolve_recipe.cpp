#include "core/methods/resolve_recipe.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/methods/activation_grids.hpp"
#include "core/methods/mixed_precision.hpp"
#include "core/methods/recipe_needs.hpp"
#include "core/methods/registry.hpp"
#include "core/text/nearest_word.hpp"
#include "kernels/error.hpp"

namespace bitgrid {
namespace {

constexpr int kUnquantizedBits = 16;  // of activations

std::string suggestion(std::string_view text, const std::vector<std::string>& words) {
  const std::string near = nearest_word(text, words);
  return near.empty() ? std::string() : fmt::format("; did you mean '{}'?", near);
}

const Method& known_method(const std::string& name) {
  if (const Method* method = find_method(name)) {
    if (!method->later.empty())
      throw InputError(fmt::format("method '{}' ({}) is not in this version: {}", name,
                                   method->title, method->later));
    return *method;
  }
  std::vector<std::string> names, usable;
  for (const Method& m : all_methods()) {
    names.emplace_back(m.name);
    if (m.later.empty()) usable.emplace_back(m.name);
  }
  throw InputError(fmt::format("unknown method '{}'; known are {}{}", name, fmt::join(usable, ", "),
                               suggestion(name, names)));
}

std::vector<std::string> split_chain(const std::string& text) {
  std::vector<std::string> parts;
  std::size_t at = 0;
  for (;;) {
    const std::size_t plus = text.find('+', at);
    parts.push_back(text.substr(at, plus == std::string::npos ? plus : plus - at));
    if (parts.back().empty())
      throw InputError(
          fmt::format("method '{}' has an empty part; write methods joined by +, "
                      "such as \"gptq\"",
                      text));
    if (plus == std::string::npos) return parts;
    at = plus + 1;
  }
}

// Rotated weights rounded by LDLQ are QuIP.
void name_quip(const std::string& text, std::vector<std::string>& chain) {
  if (chain.back() != "ldlq") return;
  if (chain.size() < 2 || chain[chain.size() - 2] != "incoherence")
    throw InputError(
        fmt::format("method '{}': ldlq rounds rotated weights, as incoherence+ldlq, which is quip; "
                    "without a rotation its feedback is gptq's",
                    text));
  chain.pop_back();
  chain.back() = "quip";
}

// A rotation must stand before a rounding that it knows; the rounding's own grid gives way.
void check_rotations(const std::string& text, const std::vector<const Method*>& methods) {
  for (std::size_t i = 0; i < methods.size(); ++i) {
    if (methods[i]->kind != MethodKind::rotation) continue;
    if (i + 2 != methods.size())
      throw InputError(
          fmt::format("method '{}': {} stands right before the rounding, transforms before it: a "
                      "rotation leaves nothing to see of single channels",
                      text, methods[i]->name));
    const std::string_view rule = methods.back()->name;
    if (std::find(methods[i]->rules.begin(), methods[i]->rules.end(), rule) ==
        methods[i]->rules.end())
      throw InputError(fmt::format(
          "method '{}': behind {} stand {}, which round onto its one grid per linear (with LDLQ "
          "that is quip); {} {}",
          text, methods[i]->name, fmt::join(methods[i]->rules, " and "), rule,
          methods.back()->round == methods[i]->round
              ? "rotates by itself"
              : "chooses groups, columns or codes of its own, which a rotation mixes"));
  }
}

// The methods of a chain: transforms, perhaps a rotation, then one rounding; a chain that ends with
// a transform or a rotation rounds to nearest.
std::vector<const Method*> resolve_chain(const std::string& text, Recipe& recipe) {
  recipe.chain = split_chain(text);
  name_quip(text, recipe.chain);
  std::vector<const Method*> methods;
  for (const std::string& name : recipe.chain) methods.push_back(&known_method(name));
  if (methods.back()->kind == MethodKind::transform ||
      methods.back()->kind == MethodKind::rotation) {
    recipe.chain.emplace_back("rtn");
    methods.push_back(&known_method("rtn"));
  }
  for (std::size_t i = 0; i + 1 < methods.size(); ++i) {
    if (methods[i]->kind == MethodKind::baseline || methods.back()->kind == MethodKind::baseline)
      throw InputError(
          fmt::format("method '{}': fp16 is the unquantized baseline and stands alone", text));
    if (methods[i]->kind == MethodKind::rounding)
      throw InputError(
          fmt::format("method '{}': a chain has one rounding, its last method, and '{}' is another",
                      text, methods[i]->name));
    if (std::count(methods.begin(), methods.end(), methods[i]) > 1)
      throw InputError(fmt::format("method '{}': '{}' appears twice", text, methods[i]->name));
  }
  check_rotations(text, methods);
  return methods;
}

// "2", "2 to 8", with what kind of number in front.
std::string bits_range(const Method& method, std::string_view kind) {
  if (method.bits_min == method.bits_max) return fmt::format("{}", method.bits_min);
  return fmt::format("{}{} to {}", kind, method.bits_min, method.bits_max);
}

// A budget may be any number that lies between the fewest and the most bits, and what is stored
// beside the codes.
void check_budget(const Method& method, double bits) {
  constexpr double kMostBeside = 8;
  if (!(bits >= method.bits_min && bits <= method.bits_max + kMostBeside))
    throw InputError(
        fmt::format("method '{}': a budget must be a number of bits from {} to {}, not {}",
                    method.name, method.bits_min, method.bits_max + kMostBeside, bits));
}

void check_bits(const Method& method, double bits) {
  if (method.kind == MethodKind::baseline) {
    if (bits != 16)
      throw InputError(fmt::format("method 'fp16' has bits = 16 or none, not {}", bits));
    return;
  }
  const auto& legal = method.bits_legal;
  if (!legal.empty()) {
    if (std::find(legal.begin(), legal.end(), bits) == legal.end())
      throw InputError(fmt::format("method '{}': bits must be {}, not {}", method.name,
                                   fmt::join(legal, " or "), bits));
    return;
  }
  if (bits == 1 && method.bits_min > 1)
    throw InputError(
        fmt::format("method '{}': 1-bit weights need a binary method (billm, pb-llm); bits must be "
                    "{}",
                    method.name, bits_range(method, "")));
  if (!(bits >= method.bits_min && bits <= method.bits_max) ||
      (!method.bits_fractional && bits != std::floor(bits)))
    throw InputError(fmt::format(
        "method '{}': bits must be {}, not {}", method.name,
        bits_range(method, method.bits_fractional ? "a number from " : "a whole number from "),
        bits));
}

// `value` as the type of the option, checked against what is legal.
OptionValue checked_option(const OptionSpec& spec, const OptionValue& value) {
  const auto refuse = [&](const std::string& expected) {
    throw InputError(
        fmt::format("option '{}' must be {}, not '{}'", spec.key, expected, option_text(value)));
  };
  if (std::holds_alternative<bool>(spec.fallback)) {
    if (!std::holds_alternative<bool>(value)) refuse("true or false");
    return value;
  }
  if (std::holds_alternative<std::int64_t>(spec.fallback)) {
    const auto* whole = std::get_if<std::int64_t>(&value);
    const auto real = static_cast<double>(whole == nullptr ? 0 : *whole);
    if (whole == nullptr || real < spec.number_min || real > spec.number_max)
      refuse(fmt::format("a whole number from {:.0f} to {:.0f}", spec.number_min, spec.number_max));
    return value;
  }
  if (std::holds_alternative<double>(spec.fallback)) {
    const std::string expected =
        fmt::format("a number above {} and at most {}{}{}", spec.number_min, spec.number_max,
                    spec.choices.empty() ? "" : ", or ", fmt::join(spec.choices, ", "));
    const auto* word = std::get_if<std::string>(&value);
    if (word != nullptr &&
        std::find(spec.choices.begin(), spec.choices.end(), *word) != spec.choices.end())
      return value;
    double number = 0;
    if (const auto* whole = std::get_if<std::int64_t>(&value)) {
      number = static_cast<double>(*whole);
    } else if (const auto* real = std::get_if<double>(&value)) {
      number = *real;
    } else {
      refuse(expected);
    }
    const bool legal = number > spec.number_min && number <= spec.number_max;  // false for NaN
    if (!legal) refuse(expected);
    return number;
  }
  // Choices that are numbers, such as "8", may be given as such.
  const auto& choices = spec.choices;
  const bool is_word = std::holds_alternative<std::string>(value) ||
                       (!choices.empty() && std::holds_alternative<std::int64_t>(value));
  const std::string word = option_text(value);
  if (!is_word ||
      (!choices.empty() && std::find(choices.begin(), choices.end(), word) == choices.end()))
    refuse(choices.empty() ? "text" : fmt::format("one of {}", fmt::join(choices, ", ")));
  return word;
}

void resolve_options(std::vector<const Method*> methods, const std::string& chain,
                     const std::map<std::string, OptionValue>& given, Recipe& recipe) {
  if (&rounding_of(methods) != methods.back()) methods.pop_back();  // its grid has given way
  const bool uniform = methods.back()->uniform;
  std::vector<std::string> keys;
  for (const Method* method : methods) {
    for (const OptionSpec& spec : method->options) {
      if (spec.uniform_only && !uniform) {
        if (given.contains(std::string(spec.key)))
          throw InputError(fmt::format("'{}' does not take '{}', an option of {}{}", chain,
                                       spec.key, method->name, way_to_have(*method, spec, chain)));
        continue;
      }
      if (recipe.options.contains(std::string(spec.key))) continue;  // the first one decides
      keys.emplace_back(spec.key);
      const auto found = given.find(std::string(spec.key));
      recipe.options[std::string(spec.key)] =
          found == given.end() ? spec.fallback : checked_option(spec, found->second);
    }
  }
  for (const auto& [key, value] : given) {
    if (recipe.options.contains(key) || key == "activation_bits") continue;
    for (const Method& other : all_methods())
      for (const OptionSpec& spec : other.options)
        if (spec.key == key)
          throw InputError(fmt::format("option '{}' belongs to method '{}', not to '{}'{}", key,
                                       other.name, chain, way_to_have(other, spec, chain)));
    const std::string legal = keys.empty()
                                  ? "it has no options"
                                  : fmt::format("its options are {}", fmt::join(keys, ", "));
    throw InputError(fmt::format("method '{}' has no option '{}'; {}{}", chain, key, legal,
                                 suggestion(key, keys)));
  }
}

// Methods that do not name activation_bits quantize activations only where that is asked for, and
// keep no such option where it is not.
void resolve_activation_bits(const std::map<std::string, OptionValue>& given, Recipe& recipe) {
  const std::string key = "activation_bits";
  const auto found = given.find(key);
  const auto own = recipe.options.find(key);
  if (own != recipe.options.end()) {
    const bool same = recipe.bits >= 2 && recipe.bits == std::floor(recipe.bits);
    if (own->second == activation_bits_option().fallback)
      own->second = same ? static_cast<std::int64_t>(recipe.bits) : std::int64_t{8};
  } else if (found != given.end()) {
    const OptionValue bits = checked_option(activation_bits_option(), found->second);
    if (bits == OptionValue(std::int64_t{16})) return;
    if (!recipe.quantizes())
      throw InputError("method 'fp16' quantizes nothing: activation_bits must be 16 or left out");
    recipe.options[key] = bits;
  }
}

// Whether a method of the chain quantizes activations where nothing is said of them.
bool default_activations(const Recipe& recipe) {
  return std::any_of(recipe.chain.begin(), recipe.chain.end(), [](const std::string& name) {
    const auto& options = find_method(name)->options;
    return std::any_of(options.begin(), options.end(), [](const OptionSpec& spec) {
      return spec.key == activation_bits_option().key;
    });
  });
}

// The backward pass knows nothing of quantized activations.
void check_tuning(const Recipe& recipe) {
  if (recipe_tuning(recipe) == nullptr) return;
  const std::string chain = fmt::format("{}", fmt::join(recipe.chain, "+"));
  const ActivationGrids grids = recipe_activation_grids(recipe);
  if (grids.qkv.bits < kUnquantizedBits)
    throw InputError(
        fmt::format("method '{}': tuning is for layers whose activations are not quantized; leave "
                    "qkv_bits out, or give 16",
                    chain));
  if (grids[Tap::attention_input].bits < kUnquantizedBits)
    // SmoothQuant quantizes activations unless it is told not to.
    throw InputError(fmt::format(
        "method '{}': tuning is for layers whose activations are not quantized; {}", chain,
        default_activations(recipe) ? "give activation_bits = 16: behind smoothquant they are "
                                      "quantized by default"
                                    : "leave activation_bits out, or give 16"));
}

}  // namespace

Recipe resolve_recipe(const std::string& method_chain, double bits, std::int64_t group,
                      const std::map<std::string, OptionValue>& options) {
  Recipe recipe;
  const std::vector<const Method*> methods = resolve_chain(method_chain, recipe);
  const auto flag = options.find("budget");
  const bool budget = flag != options.end() && flag->second == OptionValue(true);
  if (budget)
    check_budget(*methods.back(), bits);
  else
    check_bits(*methods.back(), bits);
  if (recipe.quantizes()) {
    if (group != -1 && group < 1)
      throw InputError(fmt::format(
          "group must be -1 (one group per row) or a positive number of columns, not {}", group));
    recipe.bits = bits;
    recipe.group = rounding_of(methods).groups ? group : -1;
  }
  resolve_options(methods, method_chain, options, recipe);
  resolve_activation_bits(options, recipe);
  check_activation_options(recipe);
  check_tuning(recipe);
  for (const Method* method : methods)
    if (method->check != nullptr) method->check(recipe);
  if (const auto mix = recipe.options.find("mix"); mix != recipe.options.end()) {
    const auto rules = parse_mix(std::get<std::string>(mix->second));
    for (const BitsRule& rule : rules) check_bits(*methods.back(), rule.bits);
  }
  return recipe;
}

std::string way_to_have(const Method& owner, const OptionSpec& option, const std::string& chain) {
  if (option.uniform_only)
    return fmt::format(" for chains that round onto a uniform grid (rtn, gptq), such as {}+gptq",
                       owner.name);
  if (chain == "fp16" || owner.kind != MethodKind::transform) return "";
  std::string way =
      fmt::format("; a chain that starts with {0} takes it, such as {0}+{1}", owner.name, chain);
  if (option.key.starts_with("activation_")) way += "; activation_bits is for any method";
  return way;
}

double legal_bits(const std::string& chain) {
  const Method* last = find_method(std::string_view(chain).substr(chain.rfind('+') + 1));
  if (last != nullptr && last->kind == MethodKind::baseline) return 16;
  if (last == nullptr || last->kind != MethodKind::rounding) last = find_method("rtn");
  return last->bits_legal.empty() ? last->bits_min : last->bits_legal.front();
}

void check_group(const Recipe& recipe, std::string_view linear, std::int64_t cols) {
  if (recipe.group == -1 || (recipe.group > 0 && cols % recipe.group == 0)) return;
  throw InputError(fmt::format("group {} does not divide the {} columns of {}; use a divisor or -1",
                               recipe.group, cols, linear));
}

}  // namespace bitgrid
