#include "core/methods/awq_search.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/methods/grid.hpp"
#include "core/methods/uniform_rows.hpp"
#include "kernels/fake_quantize_weights.hpp"
#include "kernels/linear.hpp"
#include "kernels/parallel.hpp"
#include "kernels/quadratic_form.hpp"
#include "kernels/scratch.hpp"

namespace bitgrid {
namespace {

constexpr double kFloor = 1e-4;

// Quantized weights of several points are kept at once so that one pass over the windows serves
// them all. The module's own output is computed once per pass: four points are enough to make that
// cheap.
constexpr std::int64_t kTrialBytes = std::int64_t{4} << 30;
constexpr std::int64_t kTrialsMin = 4;

// Of linears with many rows the points race: all of them start on every sixteenth row, each lap
// doubles the rows, and whoever is clearly behind the leader does not go on. That is an
// approximation: rows that nobody has looked at yet could tell another story.
constexpr std::int64_t kRacedRowsMin = 2048;
struct Lap {
  std::int64_t first, stride;
};
constexpr Lap kLaps[] = {{0, 16}, {8, 16}, {4, 8}, {2, 4}, {1, 2}};
// Standard errors, of the paired difference of rows, that make a point clearly behind.
constexpr double kClearly = 5;
// As many points as usually see all rows: for predictions.
constexpr double kUsualFinishers = 2;

void subtract(MatrixView<const float> from, MatrixView<float> x) {
  for (std::int64_t r = 0; r < x.rows; ++r)
    for (std::int64_t j = 0; j < x.cols; ++j) x(r, j) -= from(r, j);
}

double squared_norm(MatrixView<const float> x) {
  constexpr std::int64_t strip = 8;
  double sums[strip] = {};
  for (std::int64_t r = 0; r < x.rows; ++r) {
    const float* row = x.row(r);
    std::int64_t j = 0;
    for (; j + strip <= x.cols; j += strip)
      for (std::int64_t k = 0; k < strip; ++k) {
        const double value = row[j + k];
        sums[k] += value * value;
      }
    for (; j < x.cols; ++j) {
      const double value = row[j];
      sums[j % strip] += value * value;
    }
  }
  double sum = 0;
  for (const double s : sums) sum += s;
  return sum;
}

// Rows of ŵ.
void quantize_rows(const Place& place, const LinearTask& linear, const std::vector<float>& scale,
                   std::int64_t first, MatrixView<float> y) {
  const MatrixView<const float> w = linear.w.rows_from(first, y.rows);
  check_weights(place, w, first);
  fake_quantize_weights(place, trial_grid(linear.recipe), w, group_size(linear.recipe, w.cols),
                        scale, y);
}

// The layer's linears behind the tap as each point leaves them; its other weights are missing.
std::vector<LayerWeights> quantized_trials(const Place& place, TapWork& work,
                                           std::span<const LinearTask> linears,
                                           std::span<const std::vector<float>> scales) {
  std::vector<LayerWeights> trials(scales.size());
  std::vector<RowBlock> blocks;
  for (std::size_t i = 0; i < scales.size(); ++i)
    for (const LinearTask& linear : linears) {
      Matrix<float>& y = trials[i][linear.linear];
      y = Matrix<float>(linear.w.rows, linear.w.cols);
      blocks.push_back(
          {linear.w.rows, {RowPlane::of(y)}, [&, i](std::int64_t first, std::int64_t count) {
             quantize_rows(place, linear, scales[i], first, y.rows_from(first, count));
           }});
    }
  work.solve_rows(blocks);
  return trials;
}

// A module up to the input of its last linear, [tokens, inner]. What follows is linear, so that the
// error of the output is the last linear of the error here.
struct Module {
  const LayerTask& layer;
  Tap tap;
  Linear last() const { return tap == Tap::attention_input ? Linear::o : Linear::down; }
  std::int64_t inner() const { return linear_cols(layer.config, last()); }

  void forward(const Place& place, const LayerWeights& weights, MatrixView<const float> x,
               MatrixView<float> out, SegmentScratch& scratch) const {
    if (tap == Tap::attention_input)
      attention_output(place, layer.config, weights, layer.rope, x, out, scratch);
    else
      mlp_hidden(place, layer.config, weights, x, out, scratch);
  }
};

struct ModuleScratch {
  Matrix<float> reference, off, output;
  SegmentScratch segment;
};

// Adds each trial's squared error over the tokens of one window.
void add_window(const Place& place, const Module& module, const std::vector<LayerWeights>& trials,
                MatrixView<const float> x, ModuleScratch& scratch, std::span<double> sums) {
  const MatrixView<float> reference = scratch_view(scratch.reference, x.rows, module.inner());
  const MatrixView<float> off = scratch_view(scratch.off, x.rows, module.inner());
  const MatrixView<const float> last = module.layer.weights[module.last()].view();
  const MatrixView<float> output = scratch_view(scratch.output, x.rows, last.rows);
  module.forward(place, module.layer.weights, x, reference, scratch.segment);
  for (std::size_t i = 0; i < trials.size(); ++i) {
    module.forward(place, trials[i], x, off, scratch.segment);
    subtract(reference, off);
    linear(place, off, last, output);
    sums[i] += squared_norm(output);
  }
}

// Rows first, first + stride … of w.
MatrixView<const float> every_row(MatrixView<const float> w, const Lap& lap) {
  return {w.data + lap.first * w.stride, (w.rows - lap.first + lap.stride - 1) / lap.stride, w.cols,
          w.stride * lap.stride};
}

// Δ S Δᵀ of every row of the linears, one below the other, of the points in `which`.
std::vector<std::vector<double>> row_losses(const Place& place, TapWork& work,
                                            std::span<const LinearTask> linears,
                                            const Scales& scales,
                                            std::span<const std::size_t> which) {
  const Matrix<float>& gram = shared_gram(work);
  std::vector<Matrix<double>> rows;
  rows.reserve(which.size() * linears.size());
  std::vector<RowBlock> blocks;
  for (const std::size_t point : which)
    for (const LinearTask& linear : linears) {
      const std::vector<float>& scale = scales[point];
      Matrix<double>& loss = rows.emplace_back(linear.w.rows, 1);
      const auto solve = [&](std::int64_t first, std::int64_t count) {
        Matrix<float> off(count, linear.w.cols);
        quantize_rows(place, linear, scale, first, off.view());
        subtract(linear.w.rows_from(first, count), off.view());
        quadratic_form(place, off.view(), gram.view(),
                       {loss.row(first), static_cast<std::size_t>(count)});
      };
      blocks.push_back({linear.w.rows, {RowPlane::of(loss)}, solve});
    }
  work.solve_rows(blocks);
  std::vector<std::vector<double>> losses(which.size());
  for (std::size_t i = 0; i < rows.size(); ++i)
    for (std::int64_t r = 0; r < rows[i].rows(); ++r)
      losses[i / linears.size()].push_back(std::max(rows[i](r, 0), 0.0));
  return losses;
}

double mean_of(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

// Whether the mean of a is above that of b by more than chance explains, row by row.
bool clearly_above(const std::vector<double>& a, const std::vector<double>& b) {
  const double difference = mean_of(a) - mean_of(b);
  double squares = 0;
  for (std::size_t r = 0; r < a.size(); ++r) {
    const double deviation = a[r] - b[r] - difference;
    squares += deviation * deviation;
  }
  const auto count = static_cast<double>(a.size());
  return difference > kClearly * std::sqrt(squares / (count - 1) / count);
}

// The points of one search, and the rows that each of them has been tried on.
class Race {
 public:
  explicit Race(std::size_t points) : seen_(points), running_(points), behind_(points, 1.0) {
    std::iota(running_.begin(), running_.end(), std::size_t{0});
  }
  const std::vector<std::size_t>& running() const { return running_; }
  void add(const std::vector<std::vector<double>>& losses) {
    for (std::size_t i = 0; i < losses.size(); ++i) {
      std::vector<double>& seen = seen_[running_[i]];
      seen.insert(seen.end(), losses[i].begin(), losses[i].end());
    }
  }

  void drop_losers() {
    const std::size_t leader = this->leader();
    std::erase_if(running_, [&](std::size_t i) {
      if (i == leader) return false;
      const bool finite = std::isfinite(mean_of(seen_[i]));
      if (finite && !clearly_above(seen_[i], seen_[leader])) return false;
      behind_[i] = mean_of(seen_[i]) / mean_of(seen_[leader]);
      return true;
    });
  }

  // Means over rows: exact for those that are still running, for the others the least of these as
  // many times as they were worse when they fell behind.
  std::vector<double> means() const {
    std::vector<double> all;
    const double best = mean_of(seen_[leader()]);
    for (std::size_t i = 0; i < seen_.size(); ++i)
      all.push_back(std::count(running_.begin(), running_.end(), i) > 0 ? mean_of(seen_[i])
                                                                        : best * behind_[i]);
    return all;
  }

 private:
  std::size_t leader() const {
    std::vector<double> now;
    for (const std::size_t i : running_) now.push_back(mean_of(seen_[i]));
    const std::int64_t best = best_point(now);
    return running_[best < 0 ? 0 : static_cast<std::size_t>(best)];
  }

  std::vector<std::vector<double>> seen_;  // [points][rows so far]
  std::vector<std::size_t> running_;       // ascending
  std::vector<double> behind_;  // [points] how many times the leader's loss, once dropped
};

}  // namespace

std::vector<ScalePoint> scale_points(const Recipe& recipe) {
  std::vector<ScalePoint> points;
  if (recipe.word("scale") == "x") {
    for (int i = 0; i < 20; ++i) points.push_back({i / 20.0, false});
    return points;
  }
  points.push_back({0, false});
  for (int i = 0; i < 19; ++i) points.push_back({i / 18.0, true});
  return points;
}

std::vector<float> scale_of_point(const ScalePoint& point, const ChannelSizes& sizes) {
  std::vector<double> s(sizes.input.size(), 1.0);
  double smallest = std::numeric_limits<double>::infinity(), largest = 0;
  for (std::size_t j = 0; j < s.size(); ++j) {
    if (sizes.input[j] == 0) continue;
    s[j] = std::pow(sizes.input[j], point.exponent);
    if (point.duo) s[j] /= std::pow(sizes.weight[j], 1 - point.exponent) + kFloor;
    s[j] = std::max(s[j], kFloor);
    smallest = std::min(smallest, s[j]);
    largest = std::max(largest, s[j]);
  }
  const double middle = std::sqrt(largest) * std::sqrt(smallest);
  std::vector<float> scale(s.size(), 1.0f);
  for (std::size_t j = 0; j < s.size(); ++j) {
    if (sizes.input[j] == 0) continue;
    const auto value = static_cast<float>(s[j] / middle);
    scale[j] = std::isfinite(value) && value > 0 ? value : 1.0f;
  }
  return scale;
}

std::vector<double> weight_sizes(const Place& place, std::span<const LinearTask> linears) {
  const std::int64_t in = linears.front().w.cols;
  const std::int64_t group = group_size(linears.front().recipe, in);
  std::vector<double> sizes(static_cast<std::size_t>(in), 0.0);
  std::int64_t rows = 0;
  for (const LinearTask& linear : linears) rows += linear.w.rows;
  parallel_for(place, in / group, [&](std::int64_t g) {
    double* sums = sizes.data() + g * group;
    for (const LinearTask& linear : linears)
      for (std::int64_t r = 0; r < linear.w.rows; ++r) {
        const float* w = linear.w.row(r) + g * group;
        float largest = 0;
        for (std::int64_t j = 0; j < group; ++j) largest = std::max(largest, std::fabs(w[j]));
        const double unit = static_cast<double>(largest) + 1e-6;
        for (std::int64_t j = 0; j < group; ++j)
          sums[j] += static_cast<double>(std::fabs(w[j])) / unit;
      }
    for (std::int64_t j = 0; j < group; ++j) sums[j] /= static_cast<double>(rows);
  });
  return sizes;
}

std::vector<double> linear_losses(const Place& place, TapWork& work,
                                  std::span<const LinearTask> linears, const Scales& scales) {
  std::int64_t stacked = 0;
  for (const LinearTask& linear : linears) stacked += linear.w.rows;
  Race race(scales.size());
  if (stacked < kRacedRowsMin) {
    race.add(row_losses(place, work, linears, scales, race.running()));
  } else {
    for (const Lap& lap : kLaps) {
      std::vector<LinearTask> sample(linears.begin(), linears.end());
      for (LinearTask& linear : sample) linear.w = every_row(linear.w, lap);
      race.add(row_losses(place, work, sample, scales, race.running()));
      race.drop_losers();
    }
  }
  std::vector<double> losses = race.means();
  for (double& loss : losses) loss /= static_cast<double>(work.tokens());
  return losses;
}

double linear_trials(std::int64_t rows, std::int64_t points) {
  const auto all = static_cast<double>(points);
  if (rows < kRacedRowsMin) return all;
  return all / static_cast<double>(kLaps[0].stride) + std::min(all, kUsualFinishers);
}

std::int64_t trials_at_once(std::int64_t weights) {
  return std::max(kTrialsMin, kTrialBytes / std::max<std::int64_t>(4 * weights, 1));
}

std::vector<double> module_losses(const Place& place, TapWork& work, const LayerTask& layer,
                                  Tap tap, std::span<const LinearTask> linears,
                                  const Scales& scales) {
  const Module module{layer, tap};
  std::int64_t weights = 0;
  for (const LinearTask& linear : linears) weights += linear.w.rows * linear.w.cols;
  const auto at_once = static_cast<std::size_t>(trials_at_once(weights));
  std::vector<ModuleScratch> scratches(static_cast<std::size_t>(place_threads(place)));
  std::vector<double> losses;
  for (std::size_t first = 0; first < scales.size(); first += at_once) {
    const std::size_t count = std::min(at_once, scales.size() - first);
    const std::vector<LayerWeights> trials =
        quantized_trials(place, work, linears, std::span(scales).subspan(first, count));
    const std::vector<double> sums = work.sum_windows(
        static_cast<std::int64_t>(count),
        [&](std::int64_t, MatrixView<const float> x, std::span<double> window) {
          ModuleScratch& scratch = scratches[static_cast<std::size_t>(parallel_thread_index())];
          add_window(place, module, trials, x, scratch, window);
        });
    losses.insert(losses.end(), sums.begin(), sums.end());
  }
  const std::int64_t outputs = work.tokens() * linear_rows(layer.config, module.last());
  for (double& loss : losses) loss /= static_cast<double>(outputs);
  return losses;
}

std::int64_t best_point(std::span<const double> losses) {
  std::int64_t best = -1;
  double smallest = std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < losses.size(); ++i)
    if (losses[i] < smallest) {  // false for NaN and infinity
      smallest = losses[i];
      best = static_cast<std::int64_t>(i);
    }
  return best;
}

}  // namespace bitgrid
