#include "core/methods/registry.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/methods/fdb.hpp"
#include "core/methods/fdb_block.hpp"
#include "core/methods/gptq.hpp"
#include "core/methods/rtn.hpp"
#include "core/methods/slim.hpp"
#include "kernels/error.hpp"

namespace bitgrid {
namespace {

OptionSpec flag_option(std::string_view key, bool fallback, std::string_view help) {
  OptionSpec spec;
  spec.key = key;
  spec.help = help;
  spec.fallback = fallback;
  return spec;
}

OptionSpec word_option(std::string_view key, std::string fallback, std::vector<std::string> choices,
                       std::string_view help) {
  OptionSpec spec;
  spec.key = key;
  spec.help = help;
  spec.fallback = std::move(fallback);
  spec.choices = std::move(choices);
  return spec;
}

// Legal values: above `above`, up to and including `max`.
OptionSpec number_option(std::string_view key, double fallback, double above, double max,
                         std::string_view help) {
  OptionSpec spec;
  spec.key = key;
  spec.help = help;
  spec.fallback = fallback;
  spec.number_min = above;
  spec.number_max = max;
  return spec;
}

// Legal values: whole numbers from min to max.
OptionSpec whole_option(std::string_view key, std::int64_t fallback, std::int64_t min,
                        std::int64_t max, std::string_view help) {
  OptionSpec spec;
  spec.key = key;
  spec.help = help;
  spec.fallback = fallback;
  spec.number_min = static_cast<double>(min);
  spec.number_max = static_cast<double>(max);
  return spec;
}

Method rounding(std::string_view name, std::string_view title, StatisticsNeeds needs,
                RoundTap round, std::vector<OptionSpec> options) {
  Method m;
  m.name = name;
  m.kind = MethodKind::rounding;
  m.title = title;
  m.bits_min = 2;
  m.bits_max = 8;
  m.options = std::move(options);
  m.needs = needs;
  m.round = round;
  return m;
}

Method with_bits(Method method, int min, int max) {
  method.bits_min = min;
  method.bits_max = max;
  return method;
}

Method with_tuning(Method method, TuneLayer tune, std::vector<OptionSpec> options) {
  method.tune = tune;
  for (OptionSpec& option : options) method.options.push_back(std::move(option));
  return method;
}

Method later(std::string_view name, MethodKind kind, std::string_view title,
             std::string_view sentence) {
  Method m;
  m.name = name;
  m.kind = kind;
  m.title = title;
  m.later = sentence;
  return m;
}

std::vector<Method> make_table() {
  const OptionSpec symmetric =
      flag_option("symmetric", false, "grid symmetric around zero; no zero points are stored");
  const OptionSpec mse =
      flag_option("mse", false, "search each group's range for the smallest error |w - q|^2.4");
  const OptionSpec damp =
      number_option("damp", 0.01, 0, 1, "added to H's diagonal, relative to its mean");
  const OptionSpec true_sequential = flag_option(
      "true_sequential", true, "each stage of linears sees the stages before it quantized");
  const OptionSpec inputs =
      word_option("inputs", "quantized", {"quantized", "full"},
                  "what the calibration windows have passed: the quantized layers before, or "
                  "the model as it was, which cells can share");
  const OptionSpec fdb_start =
      word_option("start", "search", {"search", "absmax", "range"},
                  "where a group's scales start: the best of 82, or its largest weight or range");
  const OptionSpec fdb_steps =
      whole_option("scale_steps", 20, 0, 1000, "rounds of codes and best scales for them, at most");
  const std::vector<OptionSpec> fdb_gptq_options = {
      fdb_start,
      fdb_steps,
      damp,
      true_sequential,
      inputs,
      flag_option("feedback", true, "feed each column's error into the others"),
      whole_option("joint_rounds", 0, 0, 10, "rounds of solving for all scales of a row together")};
  Method fp16;
  fp16.name = "fp16";
  fp16.kind = MethodKind::baseline;
  fp16.title = "FP16";
  return {
      fp16,
      rounding("rtn", "RTN", {}, round_rtn, {symmetric, mse}),
      rounding(
          "gptq", "GPTQ", {.gram = true}, round_gptq,
          {symmetric, mse,
           word_option("order", "static", {"none", "act", "static", "gar"},
                       "order of the columns; act also permutes the groups"),
           damp, true_sequential, inputs,
           flag_option("compat", false,
                       "group ranges without the current block's feedback, as the reference")}),
      later("awq", MethodKind::transform, "AWQ",
            "it scales channels by activation magnitude before rounding"),
      later("smoothquant", MethodKind::transform, "SmoothQuant",
            "it moves activation outliers into the weights and quantizes both"),
      later("quip", MethodKind::rounding, "QuIP",
            "it rotates weights to incoherence and rounds with LDLQ feedback"),
      later("pb-llm", MethodKind::rounding, "PB-LLM",
            "it keeps salient weights in 8 bits and binarizes the rest"),
      later("billm", MethodKind::rounding, "BiLLM", "it binarizes weights, the salient ones twice"),
      with_bits(rounding("slim-llm", "SliM-LLM", {.gram = true}, round_slim,
                         {damp, true_sequential, inputs,
                          flag_option("sba", true, "search a bit width for each group of columns"),
                          whole_option(
                              "sba_stride", 0, 0, 1 << 20,
                              "look at every so-manieth token; 0: 1, or 8 where groups are many"),
                          word_option("divergence", "quantized", {"quantized", "original"},
                                      "which outputs' softmax the divergence is taken from"),
                          word_option("sqc", "power", {"power", "hessian", "none"},
                                      "what the search of ranges minimizes: |w - q|^2.4 or errors "
                                      "weighted by the inverse Hessian"),
                          word_option("range", "narrow", {"narrow", "wide"},
                                      "how far ranges are searched: 0.9 or 0.5 to 1.1"),
                          number_option("salient_weight", 1, 0, 1000,
                                        "what salient weights count in sqc = power")}),
                2, 7),
      later("db-llm", MethodKind::rounding, "DB-LLM",
            "it splits 2-bit weights into two binary matrices"),
      with_bits(rounding("fdb", "FDB", {}, round_fdb, {fdb_start, fdb_steps}), 2, 2),
      with_bits(
          rounding("fdb-gptq", "FDB + GPTQ", {.gram = true}, round_fdb_gptq, fdb_gptq_options), 2,
          2),
      with_tuning(with_bits(rounding("fdb-block", "FDB, block-wise", {.gram = true}, round_fdb_gptq,
                                     fdb_gptq_options),
                            2, 2),
                  tune_fdb_scales,
                  {whole_option("epochs", 8, 1, 1000, "how often tuning sees each window"),
                   whole_option("batches", 16, 1, 1024,
                                "steps per epoch; each takes every batches-th window"),
                   number_option("rate", 0.01, 0, 1,
                                 "of tuning's first step, relative to a scale; falls to 0")}),
      later("fdb-dad", MethodKind::rounding, "FDB + DAD",
            "it is DB-LLM's two-binary format, distilled with deviation-aware loss"),
      later("qlora", MethodKind::rounding, "QLoRA",
            "it stores NF4 weights and trains low-rank adapters"),
      later("ir-qlora", MethodKind::rounding, "IR-QLoRA",
            "it calibrates NF4 by information retention and trains low-rank adapters"),
  };
}

const std::vector<Method>& table() {
  static const std::vector<Method> methods = make_table();
  return methods;
}

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
  for (const Method& m : table()) {
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

// The methods of a chain: transforms, then one rounding; a chain that ends with a transform rounds
// to nearest.
std::vector<const Method*> resolve_chain(const std::string& text, Recipe& recipe) {
  recipe.chain = split_chain(text);
  std::vector<const Method*> methods;
  for (const std::string& name : recipe.chain) methods.push_back(&known_method(name));
  if (methods.back()->kind == MethodKind::transform) {
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
  }
  return methods;
}

void check_bits(const Method& method, double bits) {
  if (method.kind == MethodKind::baseline) {
    if (bits != 16)
      throw InputError(fmt::format("method 'fp16' has bits = 16 or none, not {}", bits));
    return;
  }
  if (bits == 1)
    throw InputError(fmt::format(
        "method '{}': 1-bit weights need a binary method (billm, pb-llm), not in this version; "
        "bits must be {} to {}",
        method.name, method.bits_min, method.bits_max));
  if (!(bits >= method.bits_min && bits <= method.bits_max) || bits != std::floor(bits))
    throw InputError(fmt::format("method '{}': bits must be a whole number from {} to {}, not {}",
                                 method.name, method.bits_min, method.bits_max, bits));
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
      refuse(fmt::format("a whole number from {} to {}", spec.number_min, spec.number_max));
    return value;
  }
  if (std::holds_alternative<double>(spec.fallback)) {
    const std::string expected =
        fmt::format("a number above {} and at most {}", spec.number_min, spec.number_max);
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
  const auto* word = std::get_if<std::string>(&value);
  const auto& choices = spec.choices;
  if (word == nullptr ||
      (!choices.empty() && std::find(choices.begin(), choices.end(), *word) == choices.end()))
    refuse(fmt::format("one of {}", fmt::join(choices, ", ")));
  return value;
}

void resolve_options(const std::vector<const Method*>& methods, const std::string& chain,
                     const std::map<std::string, OptionValue>& given, Recipe& recipe) {
  std::vector<std::string> keys;
  for (const Method* method : methods) {
    for (const OptionSpec& spec : method->options) {
      keys.emplace_back(spec.key);
      const auto found = given.find(std::string(spec.key));
      recipe.options[std::string(spec.key)] =
          found == given.end() ? spec.fallback : checked_option(spec, found->second);
    }
  }
  for (const auto& [key, value] : given) {
    if (recipe.options.contains(key)) continue;
    for (const Method& other : table())
      for (const OptionSpec& spec : other.options)
        if (spec.key == key)
          throw InputError(fmt::format("option '{}' belongs to method '{}', not to '{}'", key,
                                       other.name, chain));
    const std::string legal = keys.empty()
                                  ? "it has no options"
                                  : fmt::format("its options are {}", fmt::join(keys, ", "));
    throw InputError(fmt::format("method '{}' has no option '{}'; {}{}", chain, key, legal,
                                 suggestion(key, keys)));
  }
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

}  // namespace

std::span<const Method> all_methods() { return table(); }

const Method* find_method(std::string_view name) {
  for (const Method& method : table())
    if (method.name == name) return &method;
  return nullptr;
}

Recipe resolve_recipe(const std::string& method_chain, double bits, std::int64_t group,
                      const std::map<std::string, OptionValue>& options) {
  Recipe recipe;
  const std::vector<const Method*> methods = resolve_chain(method_chain, recipe);
  check_bits(*methods.back(), bits);
  if (recipe.quantizes()) {
    if (group != -1 && group < 1)
      throw InputError(fmt::format(
          "group must be -1 (one group per row) or a positive number of columns, not {}", group));
    recipe.bits = bits;
    recipe.group = group;
  }
  resolve_options(methods, method_chain, options, recipe);
  return recipe;
}

void check_group(const Recipe& recipe, std::string_view linear, std::int64_t cols) {
  if (recipe.group == -1 || (recipe.group > 0 && cols % recipe.group == 0)) return;
  throw InputError(fmt::format("group {} does not divide the {} columns of {}; use a divisor or -1",
                               recipe.group, cols, linear));
}

bool RecipeNeeds::any() const {
  return rounding.any() || std::any_of(transforms.begin(), transforms.end(),
                                       [](const StatisticsNeeds& n) { return n.any(); });
}

RecipeNeeds recipe_needs(const Recipe& recipe) {
  RecipeNeeds needs;
  for (const std::string& name : recipe.chain) {
    const Method* method = find_method(name);
    if (method == nullptr) continue;
    if (method->kind == MethodKind::transform) needs.transforms.push_back(method->needs);
    if (method->kind == MethodKind::rounding) needs.rounding = method->needs;
  }
  return needs;
}

RoundTap recipe_rounding(const Recipe& recipe) {
  const Method* method = recipe.chain.empty() ? nullptr : find_method(recipe.chain.back());
  BITGRID_ASSERT(method != nullptr && method->round != nullptr);
  return method->round;
}

TuneLayer recipe_tuning(const Recipe& recipe) {
  const Method* method = recipe.chain.empty() ? nullptr : find_method(recipe.chain.back());
  return method == nullptr ? nullptr : method->tune;
}

std::vector<StartTransform> recipe_transforms(const Recipe& recipe) {
  std::vector<StartTransform> transforms;
  for (const std::string& name : recipe.chain)
    if (const Method* method = find_method(name); method != nullptr && method->start != nullptr)
      transforms.push_back(method->start);
  return transforms;
}

bool recipe_full_inputs(const Recipe& recipe) {
  if (!recipe_needs(recipe).rounding.any()) return true;
  const auto inputs = recipe.options.find("inputs");
  return inputs != recipe.options.end() && std::get<std::string>(inputs->second) == "full";
}

std::string nearest_word(std::string_view text, std::span<const std::string> words) {
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(2, text.size() / 3) + 1;
  for (const std::string& word : words) {
    const std::size_t distance = edit_distance(text, word);
    if (distance < best_distance && distance < std::max(text.size(), word.size())) {
      best = word;
      best_distance = distance;
    }
  }
  return best;
}

}  // namespace bitgrid
