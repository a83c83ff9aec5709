#include "core/methods/slab_widths.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/methods/grid.hpp"
#include "kernels/error.hpp"
#include "kernels/linear.hpp"
#include "kernels/round_to_grid.hpp"
#include "kernels/softmax_divergence.hpp"

namespace bitgrid {
namespace {

// Tokens that are looked at together: their outputs, three rows of `out` each, stay in the cache
// from one candidate to the next.
constexpr std::int64_t kTokens = 256;
constexpr std::int64_t kManySlabs = 64, kStrideOfMany = 8;

// μ ± mean|w − μ| of each row, 0 in dead columns.
void round_binary(MatrixView<const float> w, const std::vector<bool>& dead, bool f16,
                  MatrixView<float> q) {
  const auto stored = [&](double v) {
    const auto f = static_cast<float>(v);
    return f16 ? f16_to_f32(f32_to_f16(f)) : f;
  };
  for (std::int64_t r = 0; r < w.rows; ++r) {
    double sum = 0, live = 0;
    for (std::int64_t j = 0; j < w.cols; ++j) {
      if (dead[static_cast<std::size_t>(j)]) continue;
      sum += static_cast<double>(w(r, j));
      live += 1;
    }
    const float mean = stored(live > 0 ? sum / live : 0);
    double away = 0;
    for (std::int64_t j = 0; j < w.cols; ++j)
      if (!dead[static_cast<std::size_t>(j)])
        away += static_cast<double>(std::fabs(w(r, j) - mean));
    const float alpha = stored(live > 0 ? away / live : 0);
    for (std::int64_t j = 0; j < w.cols; ++j)
      q(r, j) = dead[static_cast<std::size_t>(j)] ? 0.0f
                : w(r, j) >= mean                 ? mean + alpha
                                                  : mean - alpha;
  }
}

std::vector<double> slab_salience(MatrixView<const float> w, MatrixView<const float> u,
                                  std::int64_t group) {
  std::vector<double> energy(static_cast<std::size_t>(w.cols), 0.0);
  for (std::int64_t r = 0; r < w.rows; ++r)
    for (std::int64_t j = 0; j < w.cols; ++j)
      energy[static_cast<std::size_t>(j)] +=
          static_cast<double>(w(r, j)) * static_cast<double>(w(r, j));
  std::vector<double> salience(static_cast<std::size_t>(w.cols / group), 0.0);
  for (std::int64_t j = 0; j < w.cols; ++j) {
    const auto diagonal = static_cast<double>(u(j, j));
    salience[static_cast<std::size_t>(j / group)] +=
        energy[static_cast<std::size_t>(j)] / (diagonal * diagonal);
  }
  for (double& s : salience) s /= static_cast<double>(w.rows * group);
  return salience;
}

// The divergences of one linear's candidates.
class Candidates {
 public:
  Candidates(const Place& place, const LinearTask& task, const Factor& factor,
             const WidthSearch& search);

  std::int64_t size() const { return pairs_ + 1; }
  std::int64_t stride() const { return stride_; }
  // sums[p] += Σ over every stride-th token of x; returns how many these are.
  std::int64_t add(MatrixView<const float> x, std::span<double> sums) const;
  SlabWidths choose(std::span<const double> sums, double tokens) const;

 private:
  void round_slab(std::int64_t slab, int bits, MatrixView<float> q) const;
  void add_tokens(MatrixView<const float> x, std::span<double> sums) const;
  // The columns of a pair of slabs side by side: the p-th least and the p-th most salient.
  std::int64_t low(std::int64_t p) const { return order_[static_cast<std::size_t>(p)]; }
  std::int64_t high(std::int64_t p) const {
    return order_[order_.size() - 1 - static_cast<std::size_t>(p)];
  }

  const Place& place_;
  WidthSearch search_;
  int bits_;
  std::int64_t group_, slabs_, pairs_, stride_;
  Matrix<float> w_;  // [out, in], dead columns zero
  std::vector<bool> dead_;
  std::vector<double> salience_;
  std::vector<std::int32_t> order_;
  Matrix<float> uniform_;  // [out, in]: all slabs rounded to `bits`
  Matrix<float> changes_;  // [pairs · out, 2·group]: what raising p by one adds to pair p's columns
};

Candidates::Candidates(const Place& place, const LinearTask& task, const Factor& factor,
                       const WidthSearch& search)
    : place_(place),
      search_(search),
      bits_(static_cast<int>(task.recipe.bits)),
      group_(group_size(task.recipe, task.w.cols)),
      slabs_(task.w.cols / group_),
      pairs_(slabs_ / 2),
      stride_(divergence_stride(search.token_stride, slabs_)),
      w_(without_dead_columns(task.w, factor.dead)),
      dead_(static_cast<std::size_t>(task.w.cols), false),
      salience_(slab_salience(w_.view(), factor.u, group_)),
      order_(salience_order(salience_)) {
  for (const std::int32_t j : factor.dead) dead_[static_cast<std::size_t>(j)] = true;
  if (pairs_ == 0) return;
  const std::int64_t out = w_.rows();
  uniform_ = Matrix<float>(out, w_.cols());
  changes_ = Matrix<float>(pairs_ * out, 2 * group_);
  for (std::int64_t s = 0; s < slabs_; ++s)
    round_slab(s, bits_, uniform_.view().cols_from(s * group_, group_));
  for (std::int64_t p = 0; p < pairs_; ++p) {
    const MatrixView<float> pair = changes_.rows_from(p * out, out);
    for (const bool raise : {false, true}) {
      const std::int64_t slab = raise ? high(p) : low(p);
      const MatrixView<float> change = pair.cols_from(raise ? group_ : 0, group_);
      round_slab(slab, raise ? bits_ + 1 : bits_ - 1, change);
      for (std::int64_t r = 0; r < out; ++r)
        for (std::int64_t j = 0; j < group_; ++j) change(r, j) -= uniform_(r, slab * group_ + j);
    }
  }
}

void Candidates::round_slab(std::int64_t slab, int bits, MatrixView<float> q) const {
  const MatrixView<const float> w = w_.view().cols_from(slab * group_, group_);
  if (bits == 1) {
    const auto first = dead_.begin() + slab * group_;
    return round_binary(w, {first, first + group_}, search_.scale_f16, q);
  }
  UniformGrid grid;
  grid.bits = bits;
  grid.scale_f16 = search_.scale_f16;
  Matrix<float> scales(w.rows, 1);
  Matrix<std::uint8_t> zeros(w.rows, 1), codes(w.rows, group_);
  const std::vector<std::int32_t> one_group(static_cast<std::size_t>(group_), 0);
  fit_grid(place_, grid, w, group_, scales.view(), zeros.view());
  round_to_grid(place_, grid, w, one_group, scales.view(), zeros.view(), codes.view());
  dequantize(place_, codes.view(), one_group, scales.view(), zeros.view(), q);
}

// The outputs of candidate p are base + change: base once, change grows by one product per
// candidate. It is small beside base, so what rounding adds up in it does not matter, however many
// candidates there are.
void Candidates::add_tokens(MatrixView<const float> x, std::span<double> sums) const {
  const std::int64_t out = w_.rows(), tokens = x.rows;
  Matrix<float> f(tokens, out), base(tokens, out), change(tokens, out), pair(tokens, 2 * group_);
  std::vector<double> f_sums(static_cast<std::size_t>(tokens)), divergences(f_sums.size());
  linear(place_, x, w_.view(), f.view());
  linear(place_, x, uniform_.view(), base.view());
  log_sum_exp(place_, f.view(), f_sums);
  change.fill(0.0f);
  const auto direction =
      search_.from_quantized ? Divergence::changed_from_fixed : Divergence::fixed_from_changed;
  for (std::int64_t p = 0; p <= pairs_; ++p) {
    softmax_divergence(place_, direction, base.view(), change.view(), f.view(), f_sums,
                       divergences);
    sums[static_cast<std::size_t>(p)] +=
        std::accumulate(divergences.begin(), divergences.end(), 0.0);
    if (p == pairs_) break;
    for (std::int64_t t = 0; t < tokens; ++t) {
      std::copy_n(x.row(t) + low(p) * group_, group_, pair.row(t));
      std::copy_n(x.row(t) + high(p) * group_, group_, pair.row(t) + group_);
    }
    linear(place_, pair.view(), changes_.rows_from(p * out, out), change.view(), Accumulate::yes);
  }
}

std::int64_t Candidates::add(MatrixView<const float> x, std::span<double> sums) const {
  const std::int64_t tokens = (x.rows + stride_ - 1) / stride_;
  const MatrixView<const float> strided(x.data, tokens, x.cols, x.stride * stride_);
  for (std::int64_t t = 0; t < tokens; t += kTokens)
    add_tokens(strided.rows_from(t, std::min(kTokens, tokens - t)), sums);
  return tokens;
}

SlabWidths Candidates::choose(std::span<const double> sums, double tokens) const {
  SlabWidths widths;
  widths.bits.assign(static_cast<std::size_t>(slabs_), static_cast<std::uint8_t>(bits_));
  widths.salience = salience_;
  std::size_t best = 0;
  for (std::size_t p = 0; p < sums.size(); ++p) {
    widths.curve.push_back(sums[p] / tokens);
    if (!std::isfinite(widths.curve[p]))
      throw Error(
          "the divergence of its outputs is not finite: the calibration inputs or the weights are "
          "too large");
    if (widths.curve[p] < widths.curve[best]) best = p;
  }
  for (std::size_t p = 0; p < best; ++p) {
    --widths.bits[static_cast<std::size_t>(low(static_cast<std::int64_t>(p)))];
    ++widths.bits[static_cast<std::size_t>(high(static_cast<std::int64_t>(p)))];
  }
  return widths;
}

SlabWidths all_alike(const LinearTask& task) {
  SlabWidths widths;
  widths.bits.assign(static_cast<std::size_t>(task.w.cols / group_size(task.recipe, task.w.cols)),
                     static_cast<std::uint8_t>(task.recipe.bits));
  return widths;
}

}  // namespace

std::int64_t divergence_stride(std::int64_t asked, std::int64_t slabs) {
  if (asked > 0) return asked;
  return slabs > kManySlabs ? kStrideOfMany : 1;
}

std::vector<std::int32_t> salience_order(const std::vector<double>& salience) {
  std::vector<std::int32_t> order(salience.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
    return salience[static_cast<std::size_t>(a)] < salience[static_cast<std::size_t>(b)];
  });
  return order;
}

std::vector<SlabWidths> search_slab_widths(const Place& place, const TapTask& task, TapWork& work,
                                           const Factor& factor, const WidthSearch& search) {
  std::vector<SlabWidths> all;
  std::int64_t sizes = 0;  // candidates of all linears, and a count of tokens for each
  std::vector<Candidates> candidates;
  const bool searches = search.search && factor.u.rows > 0;
  for (const LinearTask& linear : task.linears) {
    if (!searches) {
      all.push_back(all_alike(linear));
      continue;
    }
    candidates.emplace_back(place, linear, factor, search);
    sizes += candidates.back().size() + 1;
  }
  if (!searches) return all;
  const std::vector<double> sums = work.sum_windows(
      sizes, [&](std::int64_t, MatrixView<const float> x, std::span<double> window) {
        std::size_t at = 0;
        for (const Candidates& c : candidates) {
          const auto size = static_cast<std::size_t>(c.size());
          if (size > 1)
            window[at + size] += static_cast<double>(c.add(x, window.subspan(at, size)));
          at += size + 1;
        }
      });
  std::size_t at = 0;
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    const auto size = static_cast<std::size_t>(candidates[i].size());
    const auto own = size > 1 ? std::span(sums).subspan(at, size) : std::span<const double>();
    all.push_back(with_context(task.linears[i].name(),
                               [&] { return candidates[i].choose(own, sums[at + size]); }));
    at += size + 1;
  }
  return all;
}

}  // namespace bitgrid
