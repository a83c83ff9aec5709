#include "core/methods/registry.hpp"

#include "core/methods/awq.hpp"
#include "core/methods/billm.hpp"
#include "core/methods/billm_linear.hpp"
#include "core/methods/fdb.hpp"
#include "core/methods/fdb_block.hpp"
#include "core/methods/gptq.hpp"
#include "core/methods/pb_llm.hpp"
#include "core/methods/quip.hpp"
#include "core/methods/rtn.hpp"
#include "core/methods/slim.hpp"
#include "core/methods/smoothquant.hpp"

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

Method onto_uniform_grid(Method method) {
  method.uniform = true;
  return method;
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
  OptionSpec awq_clip =
      flag_option("clip", true, "clamp each group's weights where that helps its output");
  awq_clip.uniform_only = true;  // its trials are on the grid of the rounding
  Method fp16;
  fp16.name = "fp16";
  fp16.kind = MethodKind::baseline;
  fp16.title = "FP16";
  return {
      fp16,
      onto_uniform_grid(rounding("rtn", "RTN", {}, round_rtn, {symmetric, mse, mix, budget})),
      onto_uniform_grid(rounding(
          "gptq", "GPTQ", {.gram = true}, round_gptq,
          {symmetric, mse,
           word_option("order", "static", {"none", "act", "static", "gar"},
                       "order of the columns; act also permutes the groups"),
           damp, true_sequential, inputs,
           flag_option("compat", false,
                       "group ranges without the current block's feedback, as the reference"),
           mix, budget})),
      transform("awq", "AWQ", {.gram = true, .sampled_gram = true, .channels = true}, start_awq,
                {word_option("scale", "x", {"x", "duo"},
                             "channel scales from the inputs, or from inputs and weights"),
                 word_option("search", "module", {"module", "linear"},
                             "where the exponent of norms is judged: at the output of attention or "
                             "MLP, or of the linears alone, which is faster"),
                 awq_clip,
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

}  // namespace

OptionSpec activation_bits_option() {
  return whole_option("activation_bits", 0, 2, 16,
                      "bits of the linears' inputs, by default those of the weights; 16: none");
}

std::span<const Method> all_methods() { return table(); }

const Method* find_method(std::string_view name) {
  for (const Method& method : table())
    if (method.name == name) return &method;
  return nullptr;
}

}  // namespace bitgrid
