#include "sweeps/layer_quantizer.hpp"

#include <algorithm>

#include "core/methods/recipe_needs.hpp"
#include "kernels/error.hpp"
#include "sweeps/calibration_walk.hpp"
#include "sweeps/layer_source.hpp"
#include "sweeps/layer_tuner.hpp"

namespace bitgrid {
namespace {

WindowStates clone(const WindowStates& states) {
  return {states.windows, states.own, states.x.clone()};
}

bool is_sequential(const Recipe& recipe) {
  const auto option = recipe.options.find("true_sequential");
  return option == recipe.options.end() || std::get<bool>(option->second);
}

TapTask task_at(const RankContext& rank, const Recipe& recipe, std::int64_t layer, Tap tap,
                const LayerWeights& weights) {
  TapTask task;
  task.layer = layer;
  task.tap = tap;
  task.seed = static_cast<std::uint64_t>(rank.sweep.calibration.seed);
  for (const Linear linear : linears_of(tap))
    task.linears.push_back(
        {linear, weights[linear].view(), recipe_for_linear(recipe, layer, linear)});
  return task;
}

// One cell on its way through one layer. Every call is collective and throws AgreedFailure.
class CellLayer {
 public:
  CellLayer(RankContext& rank, std::int64_t layer, LayerMember& member)
      : rank_(rank),
        layer_(layer),
        member_(member),
        needs_(recipe_needs(*member.recipe)),
        transforms_(recipe_transforms(*member.recipe)) {}

  LayerMember& member() { return member_; }
  bool transforms() const { return !transforms_.empty(); }
  // What the first walk through the unquantized layer is for.
  StatisticsNeeds first_needs() const {
    return transforms() ? needs_.transforms.front() : needs_.rounding;
  }
  // Whether further walks start at the layer's input again.
  bool walks_again() const {
    return transforms_.size() > 1 || (transforms() && needs_.rounding.any()) || tunes();
  }
  bool tunes() const { return recipe_tuning(*member_.recipe) != nullptr; }

  void start_transform(const LayerWeights& weights) {
    run_together(rank_.replicas, [&] {
      transform_ = transforms_[transformed_](
          {layer_, static_cast<std::uint64_t>(rank_.sweep.calibration.seed), *member_.recipe,
           rank_.config, rank_.rope, weights});
    });
  }

  void transform_at(Tap tap, TapInputs& inputs) {
    run_together(rank_.replicas, [&] {
      RankTapWork work(inputs, *member_.seconds);
      with_context(tap_text(tap), [&] { transform_->at_tap(rank_.place, tap, work); });
    });
  }

  void finish_transform() {
    const Stopwatch watch((*member_.seconds)["search"]);
    run_together(rank_.replicas, [&] {
      TransformedLayer done = transform_->finish(rank_.place);
      transform_.reset();
      member_.weights = std::move(done.weights);
      for (StoredArray& array : done.arrays) {
        std::erase_if(member_.arrays, [&](const StoredArray& a) { return a.name == array.name; });
        member_.arrays.push_back(std::move(array));
      }
    });
    ++transformed_;
  }

  // From here on the layer is what it will be when it comes from the store: norms as they are
  // stored, activations on the recipe's grids.
  void apply_arrays() {
    run_together(rank_.replicas,
                 [&] { apply_layer_arrays(*member_.recipe, member_.arrays, member_.weights); });
  }

  void round_at(Tap tap, TapInputs& inputs, const LayerWeights& weights) {
    std::vector<RoundedLinear> rounded;
    const TapTask task = task_at(rank_, *member_.recipe, layer_, tap, weights);
    double solve_s = 0;
    run_together(rank_.replicas, [&] {
      const Stopwatch watch(solve_s);
      RankTapWork work(inputs, *member_.seconds);
      with_context(tap_text(tap), [&] { rounded = round_tap(rank_.place, task, work); });
      rank_.counters.rows_solved[static_cast<std::size_t>(layer_)] += work.rows_solved();
    });
    for (std::size_t i = 0; i < rounded.size(); ++i) {
      rounded[i].stored.diagnostics.solve_s = solve_s;
      member_.weights[task.linears[i].linear] = std::move(rounded[i].weight);
      member_.linears.push_back(std::move(rounded[i].stored));
    }
  }

  // The transforms that are left, each from a walk of its own; states are not needed afterwards.
  void walk_transforms(const WindowStates& input) {
    while (transformed_ < transforms_.size()) {
      WindowStates states = clone(input);
      start_transform(member_.weights);
      CalibrationWalk walk(rank_, layer_, member_.weights, states, *member_.seconds);
      for (const Tap tap : kTaps) {
        TapInputs inputs = walk.go_to(tap, needs_.transforms[transformed_]);
        transform_at(tap, inputs);
      }
      finish_transform();
    }
  }

  // Rounds from a walk through the layer as it is, which goes on with the rounded linears.
  void walk_and_round(WindowStates& states, bool finish) {
    CalibrationWalk walk(rank_, layer_, member_.weights, states, *member_.seconds);
    for (const Tap tap : kTaps) {
      TapInputs inputs = walk.go_to(tap, needs_.rounding);
      round_at(tap, inputs, member_.weights);
    }
    if (finish) walk.finish();
  }

  // Rounds from a walk through the layer as it was.
  void walk_then_round(WindowStates states) {
    const LayerWeights before = clone_layer(member_.weights);
    CalibrationWalk walk(rank_, layer_, before, states, *member_.seconds);
    for (const Tap tap : kTaps) {
      TapInputs inputs = walk.go_to(tap, needs_.rounding);
      round_at(tap, inputs, before);
    }
  }

  void round_without_inputs() {
    for (const Tap tap : kTaps) {
      TapInputs inputs(rank_, layer_, tap);
      round_at(tap, inputs, member_.weights);
    }
  }

  // What tuning left of the rounded linears, measured again on a walk through `through`.
  //   before: the layer as it was before rounding
  void walk_and_measure(const LayerWeights& through, const LayerWeights& before,
                        WindowStates& states, bool finish) {
    CalibrationWalk walk(rank_, layer_, through, states, *member_.seconds);
    for (const Tap tap : kTaps) {
      TapInputs inputs = walk.go_to(tap, needs_.rounding);
      const TapTask task = task_at(rank_, *member_.recipe, layer_, tap, before);
      std::vector<MatrixView<const float>> weights;
      std::vector<LinearDiagnostics*> diagnostics;
      for (const LinearTask& linear : task.linears) {
        weights.push_back(member_.weights[linear.linear].view());
        diagnostics.push_back(
            &member_.linears[static_cast<std::size_t>(linear.linear)].diagnostics);
      }
      run_together(rank_.replicas, [&] {
        RankTapWork work(inputs, *member_.seconds);
        with_context(tap_text(tap),
                     [&] { measure_again(rank_.place, task, work, weights, diagnostics); });
      });
    }
    if (finish) walk.finish();
  }

  // Rounds, then tunes; the windows end up behind the tuned layer.
  void round_and_tune(WindowStates& calibration, bool last_use) {
    const LayerWeights before = clone_layer(member_.weights);
    const bool sequential = is_sequential(*member_.recipe);
    WindowStates states = clone(calibration);
    if (sequential)
      walk_and_round(states, false);
    else
      walk_then_round(std::move(states));
    if (!sequential)
      tune_apart(before, calibration);
    else if (tune_layer(rank_, layer_, member_, before, calibration))
      return walk_and_measure(member_.weights, before, calibration, !last_use);
    if (!last_use) pass(calibration);
  }

  // Calibration windows through the layer as it stands.
  void pass(WindowStates& calibration) {
    const Stopwatch watch((*member_.seconds)["forward"]);
    agree_or_throw(rank_.replicas, dist::attempt([&] {
                     forward_layer(rank_, member_.weights, calibration, "calibration");
                   }));
  }

  // Everything behind the walk that was shared.
  //   original: the layer through which it went
  void finish_alone(const LayerWeights& original, WindowStates* input) {
    if (!transforms()) {
      apply_arrays();
      if (tunes()) tune_apart(original, *input);
      return;
    }
    finish_transform();
    if (input != nullptr) walk_transforms(*input);
    apply_arrays();
    if (!needs_.rounding.any()) return round_without_inputs();
    const LayerWeights before = tunes() ? clone_layer(member_.weights) : LayerWeights();
    walk_then_round(clone(*input));
    if (tunes()) tune_apart(before, *input);
  }

  // Tunes a layer whose windows come from the layer as it was.
  void tune_apart(const LayerWeights& before, WindowStates& input) {
    if (!tune_layer(rank_, layer_, member_, before, input)) return;
    WindowStates states = clone(input);
    walk_and_measure(before, before, states, false);
  }

  bool rounds_from_statistics() const { return needs_.rounding.any(); }

 private:
  RankContext& rank_;
  std::int64_t layer_;
  LayerMember& member_;
  RecipeNeeds needs_;
  std::vector<StartTransform> transforms_;
  std::size_t transformed_ = 0;
  std::unique_ptr<Transform> transform_;
};

// fn for a cell that has not failed; its failure stays with it.
template <class Fn>
void alone(CellLayer& cell, const Fn& fn) {
  if (cell.member().failure) return;
  try {
    fn();
  } catch (const AgreedFailure& agreed) {
    if (agreed.failure.ends_run) throw;
    cell.member().failure = agreed.failure;
  }
}

// Quantized layers before this one: the windows are this cell's own.
void quantize_in_sequence(LayerWeights& weights, CellLayer& cell, WindowStates& calibration,
                          bool last_use) {
  cell.member().weights = std::move(weights);
  cell.walk_transforms(calibration);
  cell.apply_arrays();
  if (cell.tunes()) return cell.round_and_tune(calibration, last_use);
  if (is_sequential(*cell.member().recipe)) {
    cell.walk_and_round(calibration, !last_use);
    return;
  }
  cell.walk_then_round(clone(calibration));
  if (!last_use) cell.pass(calibration);
}

// One walk through the unquantized layer for all cells.
void quantize_from_shared_walk(RankContext& rank, std::int64_t layer, const LayerWeights& weights,
                               std::span<CellLayer> cells, WindowStates& calibration,
                               bool last_use) {
  StatisticsNeeds needs;
  bool again = false;
  for (CellLayer& cell : cells) {
    needs = needs | cell.first_needs();
    again |= cell.walks_again();
    cell.member().weights = clone_layer(weights);
    if (cell.transforms()) alone(cell, [&] { cell.start_transform(weights); });
  }
  std::optional<WindowStates> input;
  if (again) input = clone(calibration);
  results::Seconds shared;
  {
    CalibrationWalk walk(rank, layer, weights, calibration, shared);
    for (const Tap tap : kTaps) {
      TapInputs inputs = walk.go_to(tap, needs);
      for (CellLayer& cell : cells)
        alone(cell, [&] {
          if (cell.transforms())
            cell.transform_at(tap, inputs);
          else
            cell.round_at(tap, inputs, weights);
        });
    }
    if (!last_use) walk.finish();
  }
  for (CellLayer& cell : cells) {
    for (const auto& [term, seconds] : shared)
      (*cell.member().seconds)[term] += seconds / static_cast<double>(cells.size());
    alone(cell, [&] { cell.finish_alone(weights, input ? &*input : nullptr); });
  }
}

}  // namespace

void quantize_layer(RankContext& rank, std::int64_t layer, LayerWeights& weights,
                    std::span<LayerMember> members, WindowStates* calibration, bool last_use) {
  std::vector<CellLayer> cells;
  cells.reserve(members.size());
  for (LayerMember& member : members) cells.emplace_back(rank, layer, member);
  if (calibration == nullptr) {
    BITGRID_ASSERT(cells.size() == 1);
    cells.front().member().weights = std::move(weights);
    cells.front().apply_arrays();
    cells.front().round_without_inputs();
    return;
  }
  rank.counters.calibration_windows[static_cast<std::size_t>(layer)] += calibration->own.count;
  if (recipe_full_inputs(*members.front().recipe)) {
    quantize_from_shared_walk(rank, layer, weights, cells, *calibration, last_use);
    if (members.size() == 1 && members.front().failure) throw AgreedFailure{*members[0].failure};
  } else {
    BITGRID_ASSERT(cells.size() == 1);
    quantize_in_sequence(weights, cells.front(), *calibration, last_use);
  }
}

}  // namespace bitgrid
