#include "core/methods/registry.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/methods/activation_grids.hpp"
#include "core/methods/awq.hpp"
#include "core/methods/billm.hpp"
#include "core/methods/billm_linear.hpp"
#include "core/methods/fdb.hpp"
#include "core/methods/fdb_block.hpp"
#include "core/methods/gptq.hpp"
#include "core/methods/mixed_precision.hpp"
#include "core/methods/pb_llm.hpp"
#include "core/methods/quip.hpp"
#include "core/methods/rtn.hpp"
#include "core/methods/slim.hpp"
#include "core/methods/smoothquant.hpp"
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

// Every chain that quantizes takes this one; 0 stands for the bits of the weights.
OptionSpec activation_bits_option() {
  return whole_option("activation_bits", 0, 2, 16,
                      "bits of the linears' inputs, by default those of the weights; 16: none");
}

Method smoothquant() {
  Method m;
  m.name = "smoothquant";
  m.kind = MethodKind::transform;
  m.title = "SmoothQuant";
  m.needs = {.channels = true, .ranges = true};
  m.start = start_smoothquant;
  m.options = {
      number_option("alpha", 0.85, 0, 1, "how far outliers move from activations into weights"),
      word_option("rule", "reference", {"reference", "llm-compressor", "logarithmic"},
                  "how factors are made from the magnitudes of activations and weights"),
      flag_option(
          "linear_pairs", false,
          "also smooth down's input through up and, without grouped queries, o's through v"),
      activation_bits_option(),
      flag_option("activation_symmetric", true, "activation grids symmetric around zero"),
      word_option("activation_range", "token", {"token", "tensor", "static"},
                  "each token's own range, a window's, or a calibrated one"),
      whole_option("qkv_bits", 16, 2, 16, "bits of the outputs of q, k and v; 16: none"),
      flag_option("symmetric", true,
                  "weight grid symmetric around zero; no zero points are stored"),
      flag_option("full_range", true,
                  "symmetric weight grids from -max|w| to max|w|, as int8 tensors have them, with "
                  "fp32 scales"),
  };
  return m;
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

// Options of all methods that look at the inputs of linears.
OptionSpec damp_option() {
  return number_option("damp", 0.01, 0, 1, "added to H's diagonal, relative to its mean");
}
OptionSpec true_sequential_option() {
  return flag_option("true_sequential", true,
                     "each stage of linears sees the stages before it quantized");
}
OptionSpec inputs_option() {
  return word_option("inputs", "quantized", {"quantized", "full"},
                     "what the calibration windows have passed: the quantized layers before, or "
                     "the model as it was, which cells can share");
}

Method pb_llm() {
  Method m = rounding(
      "pb-llm", "PB-LLM", {.gram = true}, round_pb_llm,
      {word_option("metric", "hessian", {"hessian", "paper", "magnitude"},
                   "salience: (w/U_jj)^2, (w/[H^-1]_jj)^2 as the paper writes it, or |w|"),
       word_option("parameters", "masked", {"masked", "compat"},
                   "mean and deviation over the binary weights, or as the reference, over all "
                   "columns with zeros for salient weights"),
       word_option("mask_scope", "group", {"group", "slab", "matrix"},
                   "where the salient weights are chosen: in each group of columns (group -1: in "
                   "the matrix), in each slab (a group, or 128 columns), in the whole matrix"),
       word_option("salient_bits", "8", {"2", "3", "4", "5", "6", "7", "8"},
                   "bits of salient weights"),
       flag_option("feedback", true, "feed every error into the columns that are still free"),
       damp_option(), true_sequential_option(), inputs_option()});
  m.bits_min = 1;
  m.check = check_pb_llm;
  m.bits_fractional = true;
  return m;
}

Method billm() {
  Method m = rounding(
      "billm", "BiLLM", {.gram = true}, round_billm,
      {word_option("variant", "project", {"project", "repository", "magnitude", "paper"},
                   "what the searches for salient columns and break points minimize: the weights' "
                   "error weighted with 1/U_jj^2, the salience's error as the published code, the "
                   "weights' error, or that with the paper's candidates"),
       word_option("compensation", "exact", {"exact", "diag", "none"},
                   "feedback of a slab's error: through U's block, or as the published code only "
                   "through its diagonal"),
       whole_option("candidates", 50, 2, kBillmCandidatesMax,
                    "one less salient columns per slab are tried at most"),
       flag_option("means", true,
                   "store the means of the two sets of ordinary weights; otherwise they are 0"),
       damp_option(), true_sequential_option(), inputs_option()});
  m.bits_min = 1;
  m.bits_max = 2;
  m.bits_legal = {1.1};
  return m;
}

Method transform(std::string_view name, std::string_view title, StatisticsNeeds needs,
                 StartTransform start, std::vector<OptionSpec> options) {
  Method m;
  m.name = name;
  m.kind = MethodKind::transform;
  m.title = title;
  m.options = std::move(options);
  m.needs = needs;
  m.start = start;
  return m;
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

// Of QuIP and of everything that rounds rotated weights.
std::vector<OptionSpec> rotation_options() {
  OptionSpec rho = number_option("rho", 2.4, 0, 64,
                                 "half the grid's range over the standard deviation of the rotated "
                                 "weights; auto: the best of 1.6, 2.0, 2.4, 2.8, 3.2");
  rho.choices = {"auto"};
  return {
      rho,
      number_option("damp", 0.0201, 0, 1, "added to H's diagonal, relative to its mean"),
      flag_option("rescale", true, "balance columns of W and H before they are rotated"),
      word_option("rotation", "kronecker", {"kronecker", "blocked", "none"},
                  "one small factor for each side of the product, or one for each block"),
      word_option("factors", "balanced", {"balanced", "reference"},
                  "how a dimension is split in two; reference: by alternating prime factors"),
      flag_option("share_tap", true,
                  "linears with one input share column scales and the rotation of it"),
      whole_option("seed", 0, 0, 0x1p62, "of the rotations; 0: the sweep's"),
      flag_option("preclamp", false,
                  "clamp weights to the grid's range before feedback, as the reference"),
      flag_option("true_sequential", true,
                  "each stage of linears sees the stages before it quantized"),
      word_option("inputs", "quantized", {"quantized", "full"},
                  "what the calibration windows have passed: the quantized layers before, or "
                  "the model as it was, which cells can share"),
  };
}

Method quip(std::string_view name, std::string_view title, bool reorder,
            std::int64_t greedy_passes) {
  std::vector<OptionSpec> options = rotation_options();
  options.push_back(flag_option("reorder", reorder, "round the largest diagonal of H first"));
  options.push_back(whole_option("greedy_passes", greedy_passes, 0, 100,
                                 "of coordinate descent over the codes, behind the feedback"));
  Method m = rounding(name, title, {.gram = true}, round_quip, std::move(options));
  m.groups = false;
  return m;
}

Method incoherence() {
  Method m = rounding("incoherence", "Incoherence", {.gram = true}, round_quip, rotation_options());
  m.kind = MethodKind::rotation;
  m.groups = false;
  m.rules = {"rtn", "gptq"};
  return m;
}

std::vector<Method> make_table() {
  const OptionSpec symmetric =
      flag_option("symmetric", false, "grid symmetric around zero; no zero points are stored");
  const OptionSpec mse =
      flag_option("mse", false, "search each group's range for the smallest error |w - q|^2.4");
  // Of roundings onto a grid of whole bits.
  const OptionSpec mix = word_option(
      "mix", "", {}, "other bits for some linears, such as \"down_proj=4+layers.0-3=8\"");
  const OptionSpec budget =
      flag_option("budget", false, "bits are an average that is spread over the linears");
  const OptionSpec damp = damp_option(), true_sequential = true_sequential_option(),
                   inputs = inputs_option();
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
      rounding("rtn", "RTN", {}, round_rtn, {symmetric, mse, mix, budget}),
      rounding("gptq", "GPTQ", {.gram = true}, round_gptq,
               {symmetric, mse,
                word_option("order", "static", {"none", "act", "static", "gar"},
                            "order of the columns; act also permutes the groups"),
                damp, true_sequential, inputs,
                flag_option("compat", false,
                            "group ranges without the current block's feedback, as the reference"),
                mix, budget}),
      transform(
          "awq", "AWQ", {.gram = true, .sampled_gram = true, .channels = true}, start_awq,
          {word_option("scale", "x", {"x", "duo"},
                       "channel scales from the inputs, or from inputs and weights"),
           word_option("search", "module", {"module", "linear"},
                       "where the exponent of norms is judged: at the output of attention or "
                       "MLP, or of the linears alone, which is faster"),
           flag_option("clip", true, "clamp each group's weights where that helps its output"),
           flag_option("gqa", false,
                       "scale o_proj also where query heads share the channels of a kv head"),
           flag_option("minmax", false,
                       "ranges of groups need not contain zero, as in the reference")}),
      smoothquant(),
      quip("quip", "QuIP", false, 0),
      quip("quip-rg", "QuIP-RG", true, 5),
      incoherence(),
      pb_llm(),
      billm(),
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
          "method '{}': behind {} stand {} and ldlq, which round onto its one grid per linear; {} "
          "{}",
          text, methods[i]->name, fmt::join(methods[i]->rules, ", "), rule,
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

// A budget may be any number that lies between the fewest and the most bits, and what is stored
// beside the codes.
void check_budget(const Method& method, double bits) {
  constexpr double kMostBeside = 8;
  if (!(bits >= method.bits_min && bits <= method.bits_max + kMostBeside))
    throw InputError(
        fmt::format("method '{}': a budget must be a number of bits from {} to {}, not {}",
                    method.name, method.bits_min, method.bits_max + kMostBeside, bits));
}

// Who rounds, and with whose options: a rotation, if there is one, else the last method.
const Method& rounding_of(const std::vector<const Method*>& methods) {
  const bool rotates =
      methods.size() > 1 && methods[methods.size() - 2]->kind == MethodKind::rotation;
  return *methods[methods.size() - (rotates ? 2 : 1)];
}

const Method* rounding_of(const Recipe& recipe) {
  std::vector<const Method*> methods;
  for (const std::string& name : recipe.chain) {
    methods.push_back(find_method(name));
    if (methods.back() == nullptr) return nullptr;
  }
  return methods.empty() ? nullptr : &rounding_of(methods);
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
                    "{} to {}",
                    method.name, method.bits_min, method.bits_max));
  if (!(bits >= method.bits_min && bits <= method.bits_max) ||
      (!method.bits_fractional && bits != std::floor(bits)))
    throw InputError(fmt::format("method '{}': bits must be a {} from {} to {}, not {}",
                                 method.name, method.bits_fractional ? "number" : "whole number",
                                 method.bits_min, method.bits_max, bits));
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
  const auto* word = std::get_if<std::string>(&value);
  const auto& choices = spec.choices;
  if (word == nullptr ||
      (!choices.empty() && std::find(choices.begin(), choices.end(), *word) == choices.end()))
    refuse(fmt::format("one of {}", fmt::join(choices, ", ")));
  return value;
}

void resolve_options(std::vector<const Method*> methods, const std::string& chain,
                     const std::map<std::string, OptionValue>& given, Recipe& recipe) {
  if (&rounding_of(methods) != methods.back()) methods.pop_back();  // its grid has given way
  std::vector<std::string> keys;
  for (const Method* method : methods) {
    for (const OptionSpec& spec : method->options) {
      if (recipe.options.contains(std::string(spec.key))) continue;  // the first one decides
      keys.emplace_back(spec.key);
      const auto found = given.find(std::string(spec.key));
      recipe.options[std::string(spec.key)] =
          found == given.end() ? spec.fallback : checked_option(spec, found->second);
    }
  }
  for (const auto& [key, value] : given) {
    if (recipe.options.contains(key) || key == "activation_bits") continue;
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

namespace {

// The backward pass knows nothing of quantized activations.
void check_tuning(const Recipe& recipe) {
  const TuneLayer tune = recipe_tuning(recipe);
  if (tune != nullptr && recipe.options.contains("activation_bits"))
    throw InputError(
        fmt::format("method '{}': tuning is for layers whose activations are not "
                    "quantized; leave activation_bits out, or give 16",
                    fmt::join(recipe.chain, "+")));
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
    if (method != nullptr && method->kind == MethodKind::transform)
      needs.transforms.push_back(method->needs);
  }
  if (const Method* method = rounding_of(recipe)) needs.rounding = method->needs;
  return needs;
}

RoundTap recipe_rounding(const Recipe& recipe) {
  const Method* method = rounding_of(recipe);
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

bool uses_calibration(const Recipe& recipe) {
  return recipe.has_budget() || recipe_needs(recipe).any();
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
