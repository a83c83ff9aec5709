#include "core/methods/quip.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "core/methods/incoherent_factor.hpp"
#include "core/methods/incoherent_format.hpp"
#include "core/methods/rotated_weight.hpp"
#include "core/methods/uniform_rows.hpp"
#include "kernels/error.hpp"
#include "kernels/ldlq_rows.hpp"

namespace bitgrid {
namespace {

constexpr double kRangeFloor = 1e-16;

struct Plan {
  explicit Plan(const TapTask& task);
  std::vector<double> rhos;
  RotationKind kind;
  std::uint64_t seed = 0;
  std::string order = "last";
  bool share = true, nearest = false;
  std::int64_t greedy_passes = 0;
};

Plan::Plan(const TapTask& task) : kind(rotation_kind(task.recipe())) {
  const Recipe& recipe = task.recipe();
  if (const auto* rho = std::get_if<double>(&recipe.options.at("rho")))
    rhos = {*rho};
  else
    rhos.assign(std::begin(kRhoCandidates), std::end(kRhoCandidates));
  const auto own_seed = std::get<std::int64_t>(recipe.options.at("seed"));
  seed = own_seed != 0 ? static_cast<std::uint64_t>(own_seed) : task.seed;
  share = recipe.flag("share_tap");
  nearest = recipe.chain.back() == "rtn";
  if (recipe.chain.back() == "gptq") order = "first";
  if (const auto reorder = recipe.options.find("reorder"); reorder != recipe.options.end()) {
    if (std::get<bool>(reorder->second)) order = "diagonal";
    greedy_passes = std::get<std::int64_t>(recipe.options.at("greedy_passes"));
  }
}

// A linear on its way: turned once, rounded for every range that is tried.
struct Rounding {
  const LinearTask* task = nullptr;
  const IncoherentFactor* factor = nullptr;
  const DrawnRotation* v = nullptr;
  std::uint64_t v_seed = 0;
  bool counts_scales = true;
  RotatedWeight weight{};

  float delta = 0;             // of the range that is tried now
  Matrix<std::uint8_t> codes;  // [rows, cols]
  Matrix<double> loss;         // [rows, 2]
  float best_delta = 0;
  Matrix<std::uint8_t> best_codes;
  double best_loss[2] = {0, 0};  // of all rows, in weights

  void start(double rho);
  RowBlock block(const Place& place, const Plan& plan);
  void keep_if_better();
};

void Rounding::start(double rho) {
  const MatrixView<const float> w = task->w;
  const double maxq = static_cast<double>((1 << static_cast<int>(task->recipe.bits)) - 1);
  const double range = rho * weight.norm / std::sqrt(static_cast<double>(w.rows * w.cols));
  delta = static_cast<float>(2 * (range + kRangeFloor) / maxq);
  if (!std::isfinite(delta))
    throw Error(
        fmt::format("{}: the weights are too large for fp32 once they are rotated", task->name()));
  codes = Matrix<std::uint8_t>(w.rows, w.cols);
  loss = Matrix<double>(w.rows, 2);
}

RowBlock Rounding::block(const Place& place, const Plan& plan) {
  const auto solve = [this, &place, &plan](std::int64_t first, std::int64_t count) {
    LdlqColumns columns;
    columns.bits = static_cast<int>(task->recipe.bits);
    columns.delta = delta;
    columns.order = factor->order;
    columns.feedback = factor->feedback;
    columns.d = factor->d;
    columns.nearest = plan.nearest;
    columns.preclamp = task->recipe.flag("preclamp");
    columns.h = factor->h;
    columns.greedy_passes = plan.greedy_passes;
    ldlq_rows(place, columns, weight.w.rows_from(first, count), codes.rows_from(first, count),
              loss.rows_from(first, count));
  };
  return {task->w.rows, {RowPlane::of(codes), RowPlane::of(loss)}, solve};
}

void Rounding::keep_if_better() {
  double sum[2] = {0, 0};
  for (std::int64_t r = 0; r < loss.rows(); ++r)
    for (int stage : {0, 1}) sum[stage] += loss(r, stage);
  // Greedy steps only go down. What is left is a squared norm: a negative one would mean that H is
  // not what its factor says.
  if (sum[1] > sum[0] || !(sum[1] >= -1e-3 * sum[0]))
    throw Error(fmt::format("{}: greedy passes took the proxy loss from {} to {}", task->name(),
                            sum[0], sum[1]));
  const double squared = static_cast<double>(delta) * static_cast<double>(delta);
  if (!best_codes.empty() && !(squared * sum[1] < best_loss[1])) return;
  best_delta = delta;
  best_codes = std::move(codes);
  for (int stage : {0, 1}) best_loss[stage] = squared * std::max(sum[stage], 0.0);
}

// Linears that share scales, V and the factor.
struct SharedInputs {
  std::vector<std::size_t> linears;
  std::uint64_t v_seed = 0;
  DrawnRotation v;
  IncoherentFactor factor;
};

std::vector<SharedInputs> share_inputs(const Place& place, const TapTask& task, const Plan& plan,
                                       TapWork& work) {
  std::vector<SharedInputs> groups(plan.share ? 1 : task.linears.size());
  for (std::size_t i = 0; i < task.linears.size(); ++i)
    groups[plan.share ? 0 : i].linears.push_back(i);
  for (SharedInputs& group : groups) {
    std::vector<MatrixView<const float>> weights;
    for (const std::size_t i : group.linears) weights.push_back(task.linears[i].w);
    const auto first = static_cast<std::int64_t>(task.linears[group.linears.front()].linear);
    group.v_seed = rotation_seed(plan.seed, task.layer, first, RotationSide::inputs);
    group.v = draw_rotation(group.v_seed, task.cols(), plan.kind);
    const std::vector<double> norms = column_norms(place, weights);
    const Recipe& recipe = task.recipe();
    group.factor =
        shared_incoherent_factor(place, work,
                                 {norms, group.v, group.v_seed, plan.kind, recipe.flag("rescale"),
                                  recipe.number("damp"), plan.order, plan.greedy_passes > 0});
  }
  return groups;
}

// What is stored as column scales: zeros mark columns without input.
std::vector<double> stored_scales(const Recipe& recipe, const IncoherentFactor& factor) {
  if (!recipe.flag("rescale") && factor.dead.empty()) return {};
  std::vector<double> scales(factor.scales.begin(), factor.scales.end());
  for (const std::int32_t j : factor.dead) scales[static_cast<std::size_t>(j)] = 0;
  return scales;
}

QuantizedLinear assemble(const Rounding& rounding, const Plan& plan, std::int64_t tokens) {
  const IncoherentFactor& factor = *rounding.factor;
  const std::vector<double> scales = stored_scales(rounding.task->recipe, factor);
  // As GPTQ counts: the output error per token.
  const double per_token =
      factor.feedback.rows == 0
          ? 1
          : 1 / (factor.gram_scale * static_cast<double>(std::max<std::int64_t>(tokens, 1)));
  IncoherentParts parts{rounding.weight.u, *rounding.v, rounding.weight.u_seed,
                        rounding.v_seed,   plan.kind,   rounding.best_codes.view()};
  parts.delta = rounding.best_delta;
  parts.column_scales = scales;
  parts.counts_scales = rounding.counts_scales;
  for (int stage : {0, 1})
    parts.proxy_loss[stage] = static_cast<float>(per_token * rounding.best_loss[stage]);
  parts.rotated_mean = static_cast<float>(rounding.weight.mean_over_deviation);
  QuantizedLinear linear = assemble_incoherent(*rounding.task, parts);
  LinearDiagnostics& diagnostics = linear.diagnostics;
  diagnostics.loss = per_token * rounding.best_loss[1];
  diagnostics.damping = factor.damping;
  diagnostics.damping_attempts = factor.damping_attempts;
  diagnostics.fallback = factor.fallback;
  diagnostics.dead_columns = std::ssize(factor.dead);
  diagnostics.factor_s = factor.seconds;
  return linear;
}

// The middle of the grid, worth nothing: a delta of zero says that every weight is zero.
void round_zeros(Rounding& rounding) {
  const int maxq = (1 << static_cast<int>(rounding.task->recipe.bits)) - 1;
  rounding.best_codes = Matrix<std::uint8_t>(rounding.task->w.rows, rounding.task->w.cols);
  rounding.best_codes.fill(static_cast<std::uint8_t>(std::rint(0.5 * maxq)));
}

void solve(const Place& place, const Plan& plan, std::vector<Rounding>& roundings, TapWork& work) {
  for (const double rho : plan.rhos) {
    std::vector<RowBlock> blocks;
    for (Rounding& rounding : roundings) {
      if (rounding.weight.norm == 0) continue;
      rounding.start(rho);
      blocks.push_back(rounding.block(place, plan));
    }
    if (blocks.empty()) break;
    work.solve_rows(blocks);
    for (Rounding& rounding : roundings)
      if (rounding.weight.norm != 0) rounding.keep_if_better();
  }
}

}  // namespace

std::vector<QuantizedLinear> round_quip(const Place& place, const TapTask& task, TapWork& work) {
  const Plan plan(task);
  for (const LinearTask& linear : task.linears)
    with_context(linear.name(), [&] { check_weights(place, linear.w); });
  const Matrix<float>& gram = shared_gram(work);
  const std::vector<SharedInputs> groups = share_inputs(place, task, plan, work);
  std::vector<Rounding> roundings(task.linears.size());
  for (const SharedInputs& group : groups)
    for (const std::size_t i : group.linears) {
      Rounding& rounding = roundings[i];
      rounding.task = &task.linears[i];
      rounding.factor = &group.factor;
      rounding.v = &group.v;
      rounding.v_seed = group.v_seed;
      rounding.counts_scales = i == group.linears.front();
      const std::uint64_t u_seed =
          rotation_seed(plan.seed, task.layer, static_cast<std::int64_t>(task.linears[i].linear),
                        RotationSide::outputs);
      with_context(task.linears[i].name(), [&] {
        rounding.weight =
            rotate_weight(place, task.linears[i].w, group.factor, group.v, u_seed, plan.kind);
        check_rotation(rounding.weight, task.linears[i].w, gram, group.factor);
      });
      if (rounding.weight.norm == 0) round_zeros(rounding);
    }
  solve(place, plan, roundings, work);
  std::vector<QuantizedLinear> linears;
  for (const Rounding& rounding : roundings)
    linears.push_back(assemble(rounding, plan, work.tokens()));
  return linears;
}

}  // namespace bitgrid
