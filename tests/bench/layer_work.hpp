#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/calibration/tap_statistics.hpp"
#include "core/methods/tap_work.hpp"
#include "kernels/parallel.hpp"

namespace bitgrid::bench {

using Terms = std::map<std::string, double>;  // seconds

class Timed {
 public:
  explicit Timed(double& seconds) : seconds_(seconds) {}
  ~Timed() {
    seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
  }
  Timed(const Timed&) = delete;
  Timed& operator=(const Timed&) = delete;

 private:
  double& seconds_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

// The inputs of one tap, windows end to end, and their statistics, which methods with the same
// needs take from one pass.
struct TapData {
  TapData(const Place& where, CalibrationLayout windows, Matrix<float> inputs)
      : place(where), layout(windows), x(std::move(inputs)) {}

  struct Summed {
    Statistics statistics;
    double seconds = 0;
  };
  const Summed& summed(const StatisticsNeeds& needs) {
    for (const auto& [known, summed] : sums)
      if (known == needs) return *summed;
    auto made = std::make_unique<Summed>();
    {
      const Timed timed(made->seconds);
      made->statistics = sum(needs);
    }
    return *sums.emplace_back(needs, std::move(made)).second;
  }
  MatrixView<const float> rows_of(ShardRange w) const {
    return x.view().rows_from(w.first * layout.length, w.count * layout.length);
  }

  const Place& place;
  const CalibrationLayout layout;
  const Matrix<float> x;  // [tokens, in]

 private:
  Statistics sum(const StatisticsNeeds& needs) const {
    TapPartials partials = sum_tap(place, layout, {0, layout.shards}, x.cols(), needs,
                                   [&](ShardRange windows) { return rows_of(windows); });
    const Matrix<double> none;
    const Matrix<double>& sums_of = partials.sums.empty() ? none : partials.sums.front().sums;
    return unpack_statistics(place, layout, needs, x.cols(),
                             {sums_of.data(), static_cast<std::size_t>(sums_of.size())},
                             std::move(partials.abs_max), partials.ranges);
  }

  std::vector<std::pair<StatisticsNeeds, std::unique_ptr<Summed>>> sums;
};

// What cells that see the same inputs keep for each other.
struct TapShares {
  std::map<std::string, std::unique_ptr<Shared>> made;
  std::map<std::string, std::vector<double>> kept;
};

// A cell's work at a tap on one process, its seconds by term as a stage's ranks count them.
class TimedTapWork : public TapWork {
 public:
  //   rows: the term of solve_rows, "solve" or, while a transform searches, "search"
  TimedTapWork(TapData& data, const StatisticsNeeds& needs, TapShares& shared, Terms& terms,
               const std::string& rows)
      : data_(data),
        statistics_(data.summed(needs).statistics),
        shared_(shared),
        terms_(terms),
        rows_(rows) {}

  std::int64_t tokens() const override { return data_.layout.tokens(); }
  const std::vector<double>& abs_sum() const override { return statistics_.abs_sum; }
  const std::vector<float>& abs_max() const override { return statistics_.abs_max; }

  const Shared& once(const std::string& key,
                     const std::function<Shared(const Statistics&)>& make) override {
    auto& made = shared_.made[key];
    if (made == nullptr) {
      const Timed timed(terms_["factorization"]);
      made = std::make_unique<Shared>(make(statistics_));
    }
    return *made;
  }

  std::vector<double>& kept(const std::string& key) override { return shared_.kept[key]; }

  std::vector<double> sum_windows(
      std::int64_t size, const std::function<void(std::int64_t window, MatrixView<const float> x,
                                                  std::span<double> sums)>& add) override {
    const Timed timed(terms_["search"]);
    const auto partials = sum_shards(
        data_.place, data_.layout, {0, data_.layout.shards}, true, [&](ShardRange windows) {
          Matrix<double> sums(1, size);
          sums.fill(0);
          for (std::int64_t w = windows.first; w < windows.end(); ++w)
            add(w, data_.rows_of({w, 1}), {sums.data(), static_cast<std::size_t>(size)});
          return sums;
        });
    const Matrix<double>& total = partials.front().sums;
    return {total.data(), total.data() + total.size()};
  }

  void solve_rows(std::span<RowBlock> blocks) override {
    const Timed timed(terms_[rows_]);
    std::int64_t stacked = 0;
    for (const RowBlock& block : blocks) stacked += block.rows;
    std::vector<std::function<void()>> tiles;
    for (const RowBlock& block : blocks) {
      if (block.whole) {
        block.solve(0, block.rows);
        continue;
      }
      const std::int64_t tile = solve_tile_rows(stacked);
      for (std::int64_t first = 0; first < block.rows; first += tile)
        tiles.emplace_back(
            [&block, first, tile] { block.solve(first, std::min(tile, block.rows - first)); });
    }
    parallel_for(data_.place, std::ssize(tiles),
                 [&](std::int64_t i) { tiles[static_cast<std::size_t>(i)](); });
  }

 private:
  TapData& data_;
  const Statistics& statistics_;
  TapShares& shared_;
  Terms& terms_;
  const std::string rows_;
};

}  // namespace bitgrid::bench
