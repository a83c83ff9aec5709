#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/calibration/tap_statistics.hpp"
#include "core/methods/method.hpp"
#include "core/methods/recipe_needs.hpp"
#include "kernels/parallel.hpp"

namespace bitgrid::test {

// A TapWork of one process: the inputs of a tap as a matrix, windows end to end.
class SoloTapWork : public TapWork {
 public:
  // Nothing is known of the inputs.
  explicit SoloTapWork(const Place& place) : place_(place) {}
  SoloTapWork(const Place& place, MatrixView<const float> x, StatisticsNeeds needs,
              std::int64_t windows = 1, std::int64_t shards = 4)
      : place_(place), x_(x), layout_{windows, x.rows / windows, shards} {
    TapPartials partials = sum_tap(place, layout_, {0, shards}, x.cols, needs,
                                   [&](ShardRange w) { return rows_of(w.first, w.count); });
    Matrix<double> sums(1, tap_sum_size(needs, x.cols));
    sums.fill(0);
    if (partials.sums.size() == 1 && !partials.sums[0].sums.empty())
      sums = std::move(partials.sums[0].sums);
    statistics_ = unpack_statistics(place, layout_, needs, x.cols,
                                    {sums.data(), static_cast<std::size_t>(sums.size())},
                                    std::move(partials.abs_max), partials.ranges);
  }
  // Statistics that a test made up.
  SoloTapWork(const Place& place, Statistics statistics)
      : place_(place), statistics_(std::move(statistics)) {}

  // Tiles of all rows instead of solve_tile_rows, to see that nothing depends on them.
  bool one_tile = false;
  std::vector<std::string> asked;  // keys of once(), those that were made

  const Statistics& statistics() const { return statistics_; }
  std::int64_t tokens() const override { return statistics_.tokens; }
  const std::vector<double>& abs_sum() const override { return statistics_.abs_sum; }
  const std::vector<float>& abs_max() const override { return statistics_.abs_max; }

  const Shared& once(const std::string& key,
                     const std::function<Shared(const Statistics&)>& make) override {
    auto& made = shared_[key];
    if (made == nullptr) {
      made = std::make_unique<Shared>(make(statistics_));
      asked.push_back(key);
    }
    return *made;
  }

  std::vector<double>& kept(const std::string& key) override { return kept_[key]; }

  std::vector<double> sum_windows(
      std::int64_t size, const std::function<void(std::int64_t window, MatrixView<const float> x,
                                                  std::span<double> sums)>& add) override {
    const auto leaf = [&](ShardRange windows) {
      Matrix<double> sums(1, size);
      sums.fill(0);
      for (std::int64_t w = windows.first; w < windows.end(); ++w)
        add(w, rows_of(w, 1), {sums.data(), static_cast<std::size_t>(size)});
      return sums;
    };
    const auto partials = sum_shards(place_, layout_, {0, layout_.shards}, true, leaf);
    std::vector<double> total(static_cast<std::size_t>(size), 0.0);
    if (!partials.front().sums.empty())
      total.assign(partials.front().sums.data(), partials.front().sums.data() + size);
    return total;
  }

  void solve_rows(std::span<RowBlock> blocks) override {
    std::int64_t stacked = 0;
    for (const RowBlock& block : blocks) stacked += block.rows;
    for (RowBlock& block : blocks) {
      const std::int64_t tile = block.whole || one_tile ? block.rows : solve_tile_rows(stacked);
      if (block.whole) {
        block.solve(0, block.rows);
        continue;
      }
      parallel_for(place_, (block.rows + tile - 1) / tile, [&](std::int64_t i) {
        block.solve(i * tile, std::min(tile, block.rows - i * tile));
      });
    }
  }

 private:
  MatrixView<const float> rows_of(std::int64_t window, std::int64_t count) const {
    return x_.rows_from(window * layout_.length, count * layout_.length);
  }

  const Place& place_;
  MatrixView<const float> x_;
  CalibrationLayout layout_;
  Statistics statistics_;
  std::map<std::string, std::unique_ptr<Shared>> shared_;
  std::map<std::string, std::vector<double>> kept_;
};

// A tap with linears of these weights (q, k, v …, whatever the tap is).
inline TapTask task_of(const Recipe& recipe, std::vector<MatrixView<const float>> weights) {
  TapTask task;
  for (std::size_t i = 0; i < weights.size(); ++i)
    task.linears.push_back({kLinears[i], weights[i], recipe});
  return task;
}

inline RoundedLinear round_linear(const Place& place, const Recipe& recipe,
                                  MatrixView<const float> w, TapWork& work) {
  return std::move(round_tap(place, task_of(recipe, {w}), work).front());
}

// The same with statistics of x [tokens, in], as the recipe needs them.
inline RoundedLinear round_linear(const Place& place, const Recipe& recipe,
                                  MatrixView<const float> w, MatrixView<const float> x) {
  SoloTapWork work(place, x, recipe_needs(recipe).rounding);
  return round_linear(place, recipe, w, work);
}

}  // namespace bitgrid::test
