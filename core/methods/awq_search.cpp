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

// Of linears with many rows, every eighth row tells which points are worth a look at all of them.
// That is an approximation: losses change smoothly from point to point, so that a winner that is
// missed stands beside one that is found.
constexpr std::int64_t kScreenedRowsMin = 2048;
constexpr std::int64_t kScreenStride = 8;
constexpr std::size_t kFinalists = 4;

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

MatrixView<const float> every_row(MatrixView<const float> w, std::int64_t stride) {
  return {w.data, (w.rows + stride - 1) / stride, w.cols, w.stride * stride};
}

// Σ Δ S Δᵀ over all rows of the linears, per token and output, of the points in `which`.
std::vector<double> row_losses(const Place& place, TapWork& work,
                               std::span<const LinearTask> linears, const Scales& scales,
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
  std::vector<double> losses;
  for (std::size_t i = 0; i < which.size(); ++i) {
    double sum = 0, count = 0;
    for (std::size_t l = 0; l < linears.size(); ++l) {
      const Matrix<double>& loss = rows[i * linears.size() + l];
      for (std::int64_t r = 0; r < loss.rows(); ++r) sum += std::max(loss(r, 0), 0.0);
      count += static_cast<double>(loss.rows() * work.tokens());
    }
    losses.push_back(sum / count);
  }
  return losses;
}

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
  std::vector<std::size_t> all(scales.size());
  std::iota(all.begin(), all.end(), std::size_t{0});
  std::int64_t stacked = 0;
  for (const LinearTask& linear : linears) stacked += linear.w.rows;
  if (stacked < kScreenedRowsMin) return row_losses(place, work, linears, scales, all);
  std::vector<LinearTask> sample(linears.begin(), linears.end());
  for (LinearTask& linear : sample) linear.w = every_row(linear.w, kScreenStride);
  std::vector<double> losses = row_losses(place, work, sample, scales, all);
  const std::int64_t first = best_point(losses);
  if (first < 0) return losses;
  const double seen = losses[static_cast<std::size_t>(first)];
  std::vector<std::size_t> near = all;
  std::erase_if(near, [&](std::size_t i) { return !std::isfinite(losses[i]); });
  std::stable_sort(near.begin(), near.end(),
                   [&](std::size_t a, std::size_t b) { return losses[a] < losses[b]; });
  near.resize(std::min(near.size(), kFinalists));
  const std::vector<double> whole = row_losses(place, work, linears, scales, near);
  // The best of the sample comes first: scaled by its ratio, no estimate gets below its loss.
  const double ratio = seen > 0 ? whole.front() / seen : 1;
  for (double& loss : losses) loss *= ratio;
  for (std::size_t k = 0; k < near.size(); ++k) losses[near[k]] = whole[k];
  return losses;
}

double linear_trials(std::int64_t rows, std::int64_t points) {
  if (rows < kScreenedRowsMin) return static_cast<double>(points);
  const auto finalists = std::min(points, static_cast<std::int64_t>(kFinalists));
  return static_cast<double>(points) / kScreenStride + static_cast<double>(finalists);
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
