#include "sweeps/layer_tuner.hpp"

#include "core/methods/recipe_needs.hpp"
#include "kernels/error.hpp"
#include "sweeps/layer_source.hpp"
#include "sweeps/rank_tap_work.hpp"

namespace bitgrid {
namespace {

class RankLayerWork : public LayerWork {
 public:
  // Collective: the targets are the windows behind `before`.
  RankLayerWork(RankContext& rank, const LayerWeights& before, WindowStates& input)
      : rank_(rank),
        input_(input),
        target_{input.windows, input.own, input.x.clone()},
        layout_{input.windows->count, input.length(), rank.sweep.calibration.shards} {
    agree_or_throw(rank.replicas,
                   dist::attempt([&] { forward_layer(rank_, before, target_, "calibration"); }));
  }

  std::int64_t windows() const override { return layout_.windows; }
  std::vector<double> sum_windows(
      std::int64_t size,
      const std::function<void(std::int64_t window, MatrixView<const float> x,
                               MatrixView<const float> target, std::span<double> sums)>& add)
      override {
    return sum_own_windows(rank_, layout_, size, "tuning",
                           [&](std::int64_t window, std::int64_t i, std::span<double> sums) {
                             add(window, input_.window(i), target_.window(i), sums);
                           });
  }

 private:
  RankContext& rank_;
  WindowStates& input_;
  WindowStates target_;
  CalibrationLayout layout_;
};

}  // namespace

bool tune_layer(RankContext& rank, std::int64_t layer, LayerMember& member,
                const LayerWeights& before, WindowStates& input) {
  const Stopwatch watch((*member.seconds)["tuning"]);
  bool changed = false;
  run_together(rank.replicas, [&] {
    RankLayerWork work(rank, before, input);
    const LayerTask task{layer,          static_cast<std::uint64_t>(rank.sweep.calibration.seed),
                         *member.recipe, rank.config,
                         rank.rope,      member.weights};
    TunedLayer tuned = recipe_tuning(*member.recipe)(rank.place, task, member.linears, work);
    for (StoredArray& array : tuned.arrays) member.arrays.push_back(std::move(array));
    changed = !tuned.linears.empty();
    for (std::size_t i = 0; i < tuned.linears.size(); ++i) {
      member.weights.linears[i] = rebuild_weight(rank.place, tuned.linears[i]);
      member.linears[i] = std::move(tuned.linears[i]);
    }
  });
  return changed;
}

}  // namespace bitgrid
