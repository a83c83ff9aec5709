#include "core/methods/slim.hpp"

#include <cmath>

#include "core/methods/factor.hpp"
#include "core/methods/grid.hpp"
#include "core/methods/mixed_width.hpp"
#include "core/methods/objective.hpp"
#include "core/methods/slab_widths.hpp"
#include "core/methods/stored_arrays.hpp"
#include "core/methods/uniform_rows.hpp"
#include "kernels/error.hpp"
#include "kernels/slab_rows.hpp"

namespace bitgrid {
namespace {

constexpr double kSalientDeviations = 2;  // above the slab's mean

// What the range of a grid is multiplied by, in the order of trial.
std::vector<float> range_factors(bool wide) {
  std::vector<float> factors = {1.0f};
  for (int i = 1; i <= 50; ++i) factors.push_back(static_cast<float>(1 + 0.002 * i));
  for (int i = 1; i <= (wide ? 250 : 50); ++i) factors.push_back(static_cast<float>(1 - 0.002 * i));
  return factors;
}

// `weight` where w²/U_jj² lies more than two standard deviations above its slab's mean, 1
// elsewhere; of the original weights, dead columns zero.
Matrix<float> salient_weights(MatrixView<const float> w, const Factor& factor, std::int64_t group,
                              float weight) {
  Matrix<float> weights(w.rows, w.cols);
  const auto salience = [&](std::int64_t r, std::int64_t j) {
    const double ratio = static_cast<double>(w(r, j)) / static_cast<double>(factor.u(j, j));
    return ratio * ratio;
  };
  const auto count = static_cast<double>(w.rows * group);
  for (std::int64_t first = 0; first < w.cols; first += group) {
    double sum = 0, squares = 0;
    for (std::int64_t r = 0; r < w.rows; ++r)
      for (std::int64_t j = first; j < first + group; ++j) sum += salience(r, j);
    const double mean = sum / count;
    for (std::int64_t r = 0; r < w.rows; ++r)
      for (std::int64_t j = first; j < first + group; ++j)
        squares += (salience(r, j) - mean) * (salience(r, j) - mean);
    const double limit = mean + kSalientDeviations * std::sqrt(squares / (count - 1));
    for (std::int64_t r = 0; r < w.rows; ++r)
      for (std::int64_t j = first; j < first + group; ++j)
        weights(r, j) = salience(r, j) > limit ? weight : 1.0f;
  }
  return weights;
}

// One linear while its rows are being solved.
struct SlimLinear {
  SlimLinear(const LinearTask& linear, const Factor& shared, SlabWidths chosen)
      : task(linear),
        factor(shared),
        widths(std::move(chosen)),
        group(group_size(linear.recipe, linear.w.cols)),
        factors(range_factors(linear.recipe.word("range") == "wide")),
        live(without_dead_columns(linear.w, shared.dead)),
        dead(static_cast<std::size_t>(linear.w.cols), 0),
        codes(linear.w.rows, linear.w.cols),
        scales(linear.w.rows, linear.w.cols / group),
        means(linear.w.rows, linear.w.cols / group),
        zeros(linear.w.rows, linear.w.cols / group),
        loss(linear.w.rows, 1) {
    for (const std::int32_t j : factor.dead) dead[static_cast<std::size_t>(j)] = 1;
    const auto weight = static_cast<float>(task.recipe.number("salient_weight"));
    if (weight != 1.0f && factor.u.rows > 0 && task.recipe.word("sqc") == "power")
      element_weights = salient_weights(live.view(), factor, group, weight);
  }

  SlabColumns columns(std::int64_t first, std::int64_t count) const;
  RowBlock block(const Place& place, const Matrix<float>& gram, std::int64_t tokens);
  void solve(const Place& place, const Matrix<float>& gram, std::int64_t tokens, std::int64_t first,
             std::int64_t count);
  QuantizedLinear assemble() const;

  const LinearTask& task;
  const Factor& factor;
  SlabWidths widths;
  std::int64_t group;
  std::vector<float> factors;
  Matrix<float> live;              // [rows, in] the weight, dead columns zero
  std::vector<std::uint8_t> dead;  // [in] 1 where there is no input
  Matrix<float> element_weights;   // [rows, in] or empty
  Matrix<std::uint8_t> codes;
  Matrix<std::uint16_t> scales, means;  // [rows, slabs] fp16 bits
  Matrix<std::uint8_t> zeros;           // [rows, slabs]
  Matrix<double> loss;                  // [rows, 1]
};

SlabColumns SlimLinear::columns(std::int64_t first, std::int64_t count) const {
  SlabColumns c;
  c.factor = factor.u;
  c.widths = widths.bits;
  c.group = group;
  const std::string& search = task.recipe.word("sqc");
  c.search = search == "none"                           ? SlabSearch::none
             : search == "hessian" && factor.u.rows > 0 ? SlabSearch::hessian
                                                        : SlabSearch::power;
  c.factors = factors;
  if (!element_weights.empty()) c.element_weights = element_weights.rows_from(first, count);
  c.dead = dead;
  return c;
}

void SlimLinear::solve(const Place& place, const Matrix<float>& gram, std::int64_t tokens,
                       std::int64_t first, std::int64_t count) {
  const std::int64_t slabs = scales.cols();
  Matrix<float> scale(count, slabs), zero(count, slabs);
  const MatrixView<std::uint8_t> code = codes.rows_from(first, count);
  const std::span<double> losses(loss.row(first), static_cast<std::size_t>(count));
  slab_rows(place, columns(first, count), live.rows_from(first, count), scale.view(), zero.view(),
            code, losses);
  store_scales(scale.view(), scales.rows_from(first, count), first);
  for (std::int64_t r = 0; r < count; ++r)
    for (std::int64_t s = 0; s < slabs; ++s) {
      const bool binary = widths.bits[static_cast<std::size_t>(s)] == 1;
      zeros(first + r, s) = binary ? std::uint8_t{0} : static_cast<std::uint8_t>(zero(r, s));
      means(first + r, s) = binary ? f32_to_f16(zero(r, s)) : std::uint16_t{0};
    }
  if (factor.u.rows > 0) return;
  Matrix<float> q(count, live.cols());
  for (std::int64_t r = 0; r < count; ++r)
    for (std::int64_t j = 0; j < q.cols(); ++j)
      q(r, j) = slab_value(widths.bits[static_cast<std::size_t>(j / group)], code(r, j),
                           scale(r, j / group), zero(r, j / group));
  measure_output_loss(place, task.w.rows_from(first, count), q.view(), gram, tokens, losses);
}

RowBlock SlimLinear::block(const Place& place, const Matrix<float>& gram, std::int64_t tokens) {
  return {codes.rows(),
          {RowPlane::of(codes), RowPlane::of(scales), RowPlane::of(means), RowPlane::of(zeros),
           RowPlane::of(loss)},
          [this, &place, &gram, tokens](std::int64_t first, std::int64_t count) {
            solve(place, gram, tokens, first, count);
          }};
}

QuantizedLinear SlimLinear::assemble() const {
  QuantizedLinear linear;
  linear.name = task.name();
  linear.rows = codes.rows();
  linear.cols = codes.cols();
  linear.bits = static_cast<int>(task.recipe.bits);
  linear.group = task.recipe.group;
  store_mixed_width(
      {widths.bits, codes.view(), scales.view(), zeros.view(), means.view(), factor.dead}, linear);
  const auto diagnostic = [&](const char* name, const std::vector<double>& values) {
    const std::vector<float> narrow(values.begin(), values.end());
    if (!values.empty()) linear.arrays.push_back(float_array(name, narrow, false));
  };
  diagnostic("divergence", widths.curve);
  diagnostic("salience", widths.salience);
  for (std::int64_t r = 0; r < loss.rows(); ++r) linear.diagnostics.loss += loss(r, 0);
  note_factor(factor, linear.diagnostics);
  return linear;
}

}  // namespace

std::int64_t slim_range_count(const Recipe& recipe) {
  return std::ssize(range_factors(recipe.word("range") == "wide"));
}

std::vector<QuantizedLinear> round_slim(const Place& place, const TapTask& task, TapWork& work) {
  const Recipe& recipe = task.recipe();
  for (const LinearTask& linear : task.linears)  // before anything is sorted
    with_context(linear.name(), [&] { check_weights(place, linear.w); });
  const Factor factor = shared_factor(place, work, {recipe.number("damp"), "none", recipe.group});
  const Matrix<float>& gram = shared_gram(work);
  WidthSearch search;
  search.search = recipe.flag("sba");
  search.from_quantized = recipe.word("divergence") == "quantized";
  search.token_stride = std::get<std::int64_t>(recipe.options.at("sba_stride"));
  std::vector<SlabWidths> widths = search_slab_widths(place, task, work, factor, search);
  std::vector<SlimLinear> all;
  all.reserve(task.linears.size());
  std::vector<RowBlock> blocks;
  for (std::size_t i = 0; i < task.linears.size(); ++i) {
    all.emplace_back(task.linears[i], factor, std::move(widths[i]));
    blocks.push_back(all.back().block(place, gram, work.tokens()));
  }
  work.solve_rows(blocks);
  std::vector<QuantizedLinear> linears;
  for (const SlimLinear& linear : all) linears.push_back(linear.assemble());
  return linears;
}

}  // namespace bitgrid
