#include "core/methods/costs.hpp"

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "core/methods/awq.hpp"
#include "core/methods/awq_search.hpp"
#include "core/methods/billm.hpp"
#include "core/methods/fdb.hpp"
#include "core/methods/grid.hpp"
#include "core/methods/incoherent_format.hpp"
#include "core/methods/pb_llm.hpp"
#include "core/methods/quip.hpp"
#include "core/methods/recipe_needs.hpp"
#include "core/methods/registry.hpp"
#include "core/methods/slab_widths.hpp"
#include "core/methods/slim.hpp"
#include "kernels/binary_slab.hpp"
#include "kernels/clip_search.hpp"

namespace bitgrid {
namespace {

// Per weight: range, scale, quotient, clamp, error.
constexpr double kRoundFlops = 10;
// Per weight and trial of a search. Salient columns: a sum of distances for two sets, each in two
// rounds; break points: for two sets.
constexpr double kColumnTrialFlops = 40, kSplitTrialFlops = 20;
constexpr double kScaleTrialFlops = 8, kScaleStepFlops = 12;
// Starts of a group's scales that format two-binary tries.
constexpr double kScaleTrials = 82;
// Per output and candidate: two exponentials, of some 20 operations each.
constexpr double kDivergenceFlops = 40;
// Per weight and range that is tried, beside rounding: |w − q|^2.4, a logarithm and an exponential.
constexpr double kPowerFlops = 20;
// Per weight, as long as it takes: exact counting computes every salience several times, and what
// is stored is put together weight by weight.
constexpr double kPbFlops = 1000;

double real(std::int64_t count) { return static_cast<double>(count); }
std::size_t at(Tap tap) { return static_cast<std::size_t>(tap); }

double whole(const Recipe& recipe, const std::string& key) {
  return real(std::get<std::int64_t>(recipe.options.at(key)));
}
bool is_set(const Recipe& recipe, const std::string& key) {
  const auto option = recipe.options.find(key);
  return option != recipe.options.end() && option->second == OptionValue(true);
}

// The linears behind one tap.
struct TapShape {
  TapShape(const LlamaConfig& config, Tap tap) : tap(tap), cols(tap_size(config, tap)) {
    for (const Linear linear : linears_of(tap)) rows.push_back(linear_rows(config, linear));
  }
  double weights() const {
    double sum = 0;
    for (const std::int64_t n : rows) sum += real(n) * real(cols);
    return sum;
  }
  double rows_times_square() const { return weights() * real(cols); }
  Tap tap;
  std::int64_t cols;
  std::vector<std::int64_t> rows;
};

void add_elementwise(double flops, LayerCost& cost) {
  cost.solve += flops;
  cost.elementwise += flops;
}

// Of one vector.
double rotation_flops(std::int64_t size, const RotationKind& kind) {
  if (kind.form == RotationKind::Form::none) return 0;
  const RotationSplit split = split_dimension(size, kind.split);
  return 2 * real(size) * real(split.p0 + split.p1);
}

// Beyond one column loop; and the factor, which is another one.
void add_quip(const Recipe& recipe, const TapShape& tap, LayerCost& cost) {
  const RotationKind kind = rotation_kind(recipe);
  const double cols = real(tap.cols);
  const double factors = recipe.flag("share_tap") ? 1 : real(std::ssize(tap.rows));
  cost.factorization +=
      factors * (cols * cols * cols / 3 + 2 * cols * rotation_flops(tap.cols, kind));
  for (const std::int64_t rows : tap.rows)  // there, and back again
    cost.solve +=
        2 * (real(rows) * rotation_flops(tap.cols, kind) + cols * rotation_flops(rows, kind));
  const double ranges = std::holds_alternative<double>(recipe.options.at("rho"))
                            ? 1
                            : real(std::ssize(kRhoCandidates));
  const double passes =
      recipe.options.contains("greedy_passes") ? whole(recipe, "greedy_passes") : 0;
  cost.solve += (ranges - 1 + 2 * ranges * passes) * tap.rows_times_square();
}

void add_billm(const Recipe& recipe, const TapShape& tap, LayerCost& cost) {
  const double columns =
      std::min(whole(recipe, "candidates"), real(group_size(recipe, tap.cols))) - 1;
  add_elementwise((columns * kColumnTrialFlops + kBreakPoints * kSplitTrialFlops) * tap.weights(),
                  cost);
}

// Divergences of all candidates on the tokens; the search of ranges.
void add_slim(const Recipe& recipe, const TapShape& tap, double tokens, LayerCost& cost) {
  const std::string& search = recipe.word("sqc");
  const double trial = kRoundFlops + (search == "power" ? kPowerFlops : 0);
  if (search != "none")
    add_elementwise(trial * real(slim_range_count(recipe)) * tap.weights(), cost);
  const std::int64_t slabs = group_count(tap.cols, recipe.group), pairs = slabs / 2;
  if (!recipe.flag("sba") || pairs == 0) return;
  const std::int64_t asked = std::get<std::int64_t>(recipe.options.at("sba_stride"));
  const double seen = tokens / real(divergence_stride(asked, slabs));
  cost.searches += 6 * seen * tap.weights();
  const double outputs = seen * tap.weights() / real(tap.cols);
  const double divergences = kDivergenceFlops * outputs * real(pairs + 1);
  cost.searches += divergences;
  cost.elementwise += divergences;
}

void add_two_binary(const Recipe& recipe, const TapShape& tap, LayerCost& cost) {
  const double starts = recipe.word("start") == "search" ? kScaleTrials : 1;
  add_elementwise(
      (starts * kScaleTrialFlops + whole(recipe, "scale_steps") * kScaleStepFlops) * tap.weights(),
      cost);
  if (!recipe.options.contains("joint_rounds")) return;
  // Bit-selected sums, the systems of both scales of all groups, codes and losses.
  const double unknowns = 2 * real(group_count(tap.cols, recipe.group));
  const double systems = tap.weights() / real(tap.cols) * unknowns * unknowns * unknowns / 3;
  cost.solve += whole(recipe, "joint_rounds") * (5 * tap.rows_times_square() + systems);
}

void add_rounding(const Recipe& recipe, const TapShape& tap, double tokens, LayerCost& cost) {
  const RoundTap round = recipe_rounding(recipe);
  if (round == round_quip) add_quip(recipe, tap, cost);
  if (round == round_billm) add_billm(recipe, tap, cost);
  if (round == round_slim) add_slim(recipe, tap, tokens, cost);
  if (round == round_fdb || round == round_fdb_gptq) add_two_binary(recipe, tap, cost);
  if (round == round_pb_llm) add_elementwise(kPbFlops * tap.weights(), cost);
  if (is_set(recipe, "mse"))
    add_elementwise(kMseSteps * (kRoundFlops + kPowerFlops) * tap.weights(), cost);
}

// The module of a norm: up to its last linear's input, and that linear.
struct ModuleFlops {
  double inside = 0, last = 0;
};
ModuleFlops module_flops(const LlamaConfig& config, Tap tap, const LayerFlops& layer,
                         double tokens) {
  const bool attention = tap == Tap::attention_input;
  ModuleFlops flops;
  flops.inside = 2 * tokens * TapShape(config, tap).weights() + (attention ? layer.attention : 0);
  flops.last =
      2 * tokens * TapShape(config, attention ? Tap::attention_output : Tap::mlp_hidden).weights();
  return flops;
}

void add_awq(const Recipe& recipe, const LlamaConfig& config, const LayerFlops& layer,
             double tokens, LayerCost& cost) {
  const std::int64_t points = std::ssize(scale_points(recipe));
  for (const Tap tap : kTaps) {
    const TapShape shape(config, tap);
    const bool norm = tap == Tap::attention_input || tap == Tap::mlp_input;
    if (awq_clips(recipe))
      cost.solve += 2.0 * kClipSteps * real(group_size(recipe, shape.cols)) * shape.weights();
    if (!awq_searches(recipe, config, tap)) continue;
    double trials = real(points);
    if (norm && recipe.word("search") == "module") {
      const ModuleFlops module = module_flops(config, tap, layer, tokens);
      const std::int64_t together = trials_at_once(static_cast<std::int64_t>(shape.weights()));
      const double passes = real((points + together - 1) / together);
      cost.searches += real(points) * (module.inside + module.last) + passes * module.inside;
    } else {
      const std::int64_t rows =
          std::accumulate(shape.rows.begin(), shape.rows.end(), std::int64_t{0});
      trials = linear_trials(rows, points);
      cost.solve += trials * shape.rows_times_square();
    }
    add_elementwise(trials * kRoundFlops * shape.weights(), cost);
  }
}

// A walk in which every linear is rounded at every number of bits.
void add_budget(const Recipe& recipe, const LayerFlops& layer, LayerCost& cost) {
  const Method* rounding = find_method(recipe.chain.back());
  const double candidates = rounding->bits_max - rounding->bits_min + 1;
  const bool calibrated = recipe_needs(recipe).rounding.any();
  double squares = 0;
  for (const Tap tap : kTaps) {
    squares += layer.solve[at(tap)];
    cost.statistics += layer.gram[at(tap)];
    if (calibrated) cost.factorization += layer.factorization[at(tap)];
  }
  cost.walks += layer.forward();
  cost.solve *= 1 + candidates;
  cost.elementwise *= 1 + candidates;
  if (!calibrated) cost.solve += 2 * candidates * squares;  // errors of the outputs
}

}  // namespace

LayerCost layer_cost(const Recipe& recipe, const LlamaConfig& config, const Workload& calibration) {
  LayerCost cost;
  if (!recipe.quantizes()) return cost;
  const RecipeNeeds needs = recipe_needs(recipe);
  const LayerFlops layer = layer_flops(config, calibration);
  const double tokens = real(calibration.windows) * real(calibration.length);
  const bool calibrated = needs.rounding.any();
  if (calibrated) {
    // Without true_sequential the statistics of a layer are taken first, and its outputs need a
    // second walk.
    const auto sequential = recipe.options.find("true_sequential");
    const bool twice =
        sequential != recipe.options.end() && sequential->second == OptionValue(false);
    cost.walks += layer.forward() * (twice ? 2 : 1);
  }
  const bool rotates = recipe_rounding(recipe) == round_quip;
  for (const Tap tap : kTaps) {
    add_rounding(recipe, TapShape(config, tap), tokens, cost);
    if (!calibrated) continue;
    cost.statistics += layer.gram[at(tap)];
    if (!rotates) cost.factorization += layer.factorization[at(tap)];
    // Besides the column loop: (w − q) S (w − q)ᵀ and w S wᵀ, each with half the products of a full
    // one.
    cost.solve += 3 * layer.solve[at(tap)];
  }
  if (!calibrated)
    add_elementwise(kRoundFlops * real(parameter_counts(config).layer_linears), cost);
  if (recipe.has_budget()) add_budget(recipe, layer, cost);
  // Tuning: targets, losses before and after, and a walk to measure again; forward and backward,
  // which costs two of them, in every epoch.
  if (recipe_tuning(recipe) != nullptr)
    cost.searches += layer.forward() * (4 + 3 * whole(recipe, "epochs"));
  for (const StatisticsNeeds& transform : needs.transforms) {
    cost.walks += layer.forward();  // of its own
    const double share =
        real(transform.gram) +
        (transform.sampled_gram ? 1 / real(sample_stride(calibration.windows * calibration.length))
                                : 0);
    for (const Tap tap : kTaps) cost.statistics += share * layer.gram[at(tap)];
  }
  for (const StartTransform start : recipe_transforms(recipe))
    if (start == start_awq) add_awq(recipe, config, layer, tokens, cost);
  return cost;
}

std::string factor_name(const Recipe& recipe) {
  // Without an order of its own a method takes the columns as they are.
  std::string name = recipe_rounding(recipe) == round_quip ? "rotated " + recipe.chain.back() : "";
  const auto order = recipe.options.find("order");
  const std::string word =
      order == recipe.options.end() ? "none" : std::get<std::string>(order->second);
  name += " order=" + word;
  if (word == "gar") name += " group=" + std::to_string(recipe.group);
  for (const char* option :
       {"damp", "rescale", "rotation", "factors", "share_tap", "seed", "reorder"})
    if (const auto found = recipe.options.find(option); found != recipe.options.end())
      name += " " + std::string(option) + "=" + option_text(found->second);
  return name;
}

}  // namespace bitgrid
