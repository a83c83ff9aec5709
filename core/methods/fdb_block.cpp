#include "core/methods/fdb_block.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "core/methods/grid.hpp"
#include "core/methods/stored_arrays.hpp"
#include "core/tuning/adam.hpp"
#include "core/tuning/layer_gradient.hpp"
#include "kernels/dtype.hpp"
#include "kernels/error.hpp"
#include "kernels/fdb_scales.hpp"
#include "kernels/linear_backward.hpp"
#include "kernels/parallel.hpp"
#include "kernels/scratch.hpp"

namespace bitgrid {
namespace {

constexpr std::int64_t kRowTile = 512;  // rows of a weight's gradient that exist at a time
// A group whose levels ascend (or descend) as 3.1 has them keeps their order.
constexpr double kScaleMin = 1e-6, kScaleRatioMax = 0.95;

// One linear: codes and current scales. Its parameters are α₁ [rows, groups], then α₂, from
// `offset` on among those of the layer.
struct Planes {
  Matrix<std::uint8_t> codes;    // [rows, in]
  Matrix<float> alpha1, alpha2;  // [rows, groups]
  std::int64_t offset = 0;
};

Planes read_planes(const QuantizedLinear& linear) {
  const std::int64_t groups = group_count(linear.cols, linear.group);
  Planes p;
  p.codes = read_packed(linear, "plane1", linear.rows, linear.cols, 1);
  const Matrix<std::uint8_t> second = read_packed(linear, "plane2", linear.rows, linear.cols, 1);
  for (std::int64_t i = 0; i < second.size(); ++i)
    p.codes.data()[i] = static_cast<std::uint8_t>(2 * p.codes.data()[i] + second.data()[i]);
  p.alpha1 = read_halves(linear, "scales1", linear.rows, groups);
  p.alpha2 = read_halves(linear, "scales2", linear.rows, groups);
  return p;
}

// The scales of a group on their way.
class GroupOrder {
 public:
  GroupOrder(double alpha1, double alpha2)
      : sign_(alpha1 < 0 ? -1 : 1),
        min1_(std::min(kScaleMin, std::fabs(alpha1))),
        min2_(std::min(kScaleMin, std::fabs(alpha2))),
        ordered_(alpha1 * alpha2 < 0 && std::fabs(alpha2) <= kScaleRatioMax * std::fabs(alpha1)) {}
  void restore(double& alpha1, double& alpha2) const {
    if (!ordered_) return;
    const double first = std::max(sign_ * alpha1, min1_);
    const double second = std::max(-sign_ * alpha2, min2_);
    alpha1 = sign_ * first;
    alpha2 = -sign_ * std::min(second, kScaleRatioMax * first);
  }

 private:
  double sign_, min1_, min2_;
  bool ordered_;
};

class ScaleTuner {
 public:
  ScaleTuner(const Place& place, const LayerTask& task, std::span<const QuantizedLinear> linears,
             LayerWork& work)
      : place_(place),
        task_(task),
        work_(work),
        weights_(clone_layer(task.weights)),
        scratches_(static_cast<std::size_t>(place_threads(place))) {
    for (const QuantizedLinear& linear : linears) {
      Planes& p = planes_.emplace_back(read_planes(linear));
      p.offset = std::ssize(alphas_);
      for (const Matrix<float>* alpha : {&p.alpha1, &p.alpha2})
        alphas_.insert(alphas_.end(), alpha->data(), alpha->data() + alpha->size());
      for (std::int64_t i = 0; i < p.alpha1.size(); ++i)
        orders_.emplace_back(p.alpha1.data()[i], p.alpha2.data()[i]);
    }
  }

  // L with the current scales.
  double loss() {
    const std::vector<double> sums =
        work_.sum_windows(2, [&](std::int64_t, MatrixView<const float> x,
                                 MatrixView<const float> target, std::span<double> sum) {
          Scratch& s = scratch();
          sum[0] += forward(x, target, s);
          for (std::int64_t t = 0; t < x.rows; ++t)
            for (std::int64_t j = 0; j < x.cols; ++j) {
              const double d = static_cast<double>(target(t, j)) - static_cast<double>(x(t, j));
              sum[1] += d * d;
            }
        });
    norm_ = sums[1];
    return sums[0] == 0 ? 0 : sums[0] / sums[1];
  }

  void descend(std::int64_t epochs, std::int64_t batches, double rate) {
    batches = std::min(batches, std::max<std::int64_t>(work_.windows(), 1));
    Adam adam(units());
    const std::int64_t steps = epochs * batches;
    for (std::int64_t step = 0; step < steps; ++step) {
      adam.step(gradient(step % batches, batches), cosine_rate(rate, step, steps), alphas_);
      keep_order();
      set_scales([](double alpha) { return static_cast<float>(alpha); });
    }
  }

  void round_scales() {
    set_scales([](double alpha) { return f16_to_f32(f32_to_f16(static_cast<float>(alpha))); });
  }

  // `linear` with the current, rounded scales.
  QuantizedLinear stored(const QuantizedLinear& linear, std::size_t index) const {
    QuantizedLinear tuned = linear;
    const Planes& p = planes_[index];
    for (StoredArray& array : tuned.arrays) {
      if (array.name != "scales1" && array.name != "scales2") continue;
      const Matrix<float>& alpha = array.name == "scales1" ? p.alpha1 : p.alpha2;
      Matrix<std::uint16_t> bits(alpha.rows(), alpha.cols());
      for (std::int64_t i = 0; i < bits.size(); ++i) bits.data()[i] = f32_to_f16(alpha.data()[i]);
      array = half_array(array.name, bits.view());
    }
    return tuned;
  }

 private:
  struct Scratch {
    LayerTrace trace;
    Matrix<float> y;  // the layer's output, then its difference from the target
    Matrix<float> dw, dalpha1, dalpha2;
  };

  Scratch& scratch() { return scratches_[static_cast<std::size_t>(parallel_thread_index())]; }

  // ‖y − target‖²; y − target stays in s.y.
  double forward(MatrixView<const float> x, MatrixView<const float> target, Scratch& s) {
    if (s.y.rows() != x.rows || s.y.cols() != x.cols) s.y = Matrix<float>(x.rows, x.cols);
    traced_forward(place_, task_.config, weights_, task_.rope, x, s.y.view(), s.trace);
    double sum = 0;
    for (std::int64_t t = 0; t < x.rows; ++t)
      for (std::int64_t j = 0; j < x.cols; ++j) {
        const float off = s.y(t, j) - target(t, j);
        s.y(t, j) = off;
        sum += static_cast<double>(off) * static_cast<double>(off);
      }
    return sum;
  }

  // ∂L/∂α over windows batch, batch + batches, …
  std::vector<double> gradient(std::int64_t batch, std::int64_t batches) {
    std::vector<double> sums = work_.sum_windows(
        std::ssize(alphas_), [&](std::int64_t window, MatrixView<const float> x,
                                 MatrixView<const float> target, std::span<double> sum) {
          if (window % batches != batch) return;
          Scratch& s = scratch();
          forward(x, target, s);
          layer_backward(place_, task_.config, weights_, task_.rope, x, s.y.view(), s.trace,
                         [&](Linear linear, MatrixView<const float> in,
                             MatrixView<const float> dout) { add(linear, in, dout, s, sum); });
        });
    for (double& value : sums) value *= 2 / norm_;  // d‖y − target‖² = 2 (y − target)·dy
    return sums;
  }

  void add(Linear linear, MatrixView<const float> x, MatrixView<const float> dy, Scratch& s,
           std::span<double> sum) {
    const Planes& p = planes_[static_cast<std::size_t>(linear)];
    const std::int64_t groups = p.alpha1.cols();
    for (std::int64_t first = 0; first < dy.cols; first += kRowTile) {
      const std::int64_t rows = std::min(kRowTile, dy.cols - first);
      const MatrixView<float> dw = scratch_view(s.dw, rows, x.cols);
      const MatrixView<float> d1 = scratch_view(s.dalpha1, rows, groups);
      const MatrixView<float> d2 = scratch_view(s.dalpha2, rows, groups);
      linear_backward_weight(place_, dy.cols_from(first, rows), x, dw);
      fdb_scale_gradient(place_, p.codes.rows_from(first, rows), dw, d1, d2);
      double* to = sum.data() + p.offset + first * groups;
      for (std::int64_t i = 0; i < rows * groups; ++i) {
        to[i] += static_cast<double>(d1.data[i]);
        to[i + p.alpha1.size()] += static_cast<double>(d2.data[i]);
      }
    }
  }

  // Both scales of a group move in units of the larger one.
  std::vector<double> units() const {
    std::vector<double> units(alphas_.size());
    each_group([&](std::size_t first, std::size_t second, std::size_t) {
      units[first] = units[second] =
          std::max(std::fabs(alphas_[first]), std::fabs(alphas_[second]));
    });
    return units;
  }

  void keep_order() {
    each_group([&](std::size_t first, std::size_t second, std::size_t group) {
      orders_[group].restore(alphas_[first], alphas_[second]);
    });
  }

  // fn(index of α₁, index of α₂, number of the group).
  template <class Fn>
  void each_group(const Fn& fn) const {
    std::size_t group = 0;
    for (const Planes& p : planes_) {
      const auto offset = static_cast<std::size_t>(p.offset);
      const auto count = static_cast<std::size_t>(p.alpha1.size());
      for (std::size_t i = 0; i < count; ++i) fn(offset + i, offset + count + i, group++);
    }
  }

  // The linears' scales and weights from the parameters.
  template <class Round>
  void set_scales(const Round& round) {
    for (std::size_t l = 0; l < planes_.size(); ++l) {
      Planes& p = planes_[l];
      const double* from = alphas_.data() + p.offset;
      for (Matrix<float>* alpha : {&p.alpha1, &p.alpha2})
        for (std::int64_t i = 0; i < alpha->size(); ++i) alpha->data()[i] = round(*from++);
      fdb_weights(place_, p.codes.view(), p.alpha1.view(), p.alpha2.view(),
                  weights_.linears[l].view());
    }
  }

  const Place& place_;
  const LayerTask& task_;
  LayerWork& work_;
  LayerWeights weights_;
  std::vector<Scratch> scratches_;
  std::vector<Planes> planes_;      // by Linear
  std::vector<double> alphas_;      // the parameters
  std::vector<GroupOrder> orders_;  // by group, in the parameters' order
  double norm_ = 1;                 // Σ ‖layer(x) − x‖²
};

}  // namespace

TunedLayer tune_fdb_scales(const Place& place, const LayerTask& task,
                           std::span<const QuantizedLinear> linears, LayerWork& work) {
  BITGRID_ASSERT(std::ssize(linears) == kLinearCount);
  const auto whole = [&](const char* key) {
    return std::get<std::int64_t>(task.recipe.options.at(key));
  };
  ScaleTuner tuner(place, task, linears, work);
  const double before = tuner.loss();
  double after = before;
  if (before > 0 && std::isfinite(before)) {
    tuner.descend(whole("epochs"), whole("batches"), task.recipe.number("rate"));
    tuner.round_scales();
    after = tuner.loss();
  }
  TunedLayer tuned;
  tuned.arrays.push_back(float_array(
      "tuning_loss", std::array{static_cast<float>(before), static_cast<float>(after)}, false));
  if (!(after < before)) return tuned;
  for (std::size_t i = 0; i < linears.size(); ++i)
    tuned.linears.push_back(tuner.stored(linears[i], i));
  return tuned;
}

}  // namespace bitgrid
