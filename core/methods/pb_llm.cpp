#include "core/methods/pb_llm.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/methods/binary_formats.hpp"
#include "core/methods/factor.hpp"
#include "core/methods/grid.hpp"
#include "core/methods/objective.hpp"
#include "core/methods/pb_mask.hpp"
#include "core/methods/stored_arrays.hpp"
#include "core/methods/uniform_rows.hpp"
#include "kernels/error.hpp"
#include "kernels/pb_rows.hpp"
#include "kernels/round_to_grid.hpp"

namespace bitgrid {
namespace {

constexpr std::int64_t kSlab = 128;      // columns of a scope where neither group nor matrix is one
constexpr std::int64_t kDealtRows = 16;  // rows that one share of the scopes stands for; a divisor
                                         // of every tile's first row

// What the columns of a tap's linears have in common.
struct Shape {
  const Factor& factor;
  const Matrix<float>& gram;
  std::int64_t tokens = 0;
  std::vector<float> d;  // of the salience; nothing: by magnitude
  int salient_bits = 8;
  double low_frac = 0;
  bool feedback = true;
};

// √ of what a squared weight is divided by.
std::vector<float> salience_divisors(const Factor& factor, const std::string& metric) {
  std::vector<float> d;
  if (factor.u.rows == 0 || metric == "magnitude") return d;
  for (std::int64_t j = 0; j < factor.u.cols; ++j) {
    if (metric == "hessian") {
      d.push_back(factor.u(j, j));
      continue;
    }
    double inverse = 0;  // [H⁻¹]_jj = Σ U_ij²
    for (std::int64_t i = 0; i <= j; ++i)
      inverse += static_cast<double>(factor.u(i, j)) * static_cast<double>(factor.u(i, j));
    d.push_back(static_cast<float>(inverse));
  }
  return d;
}

double binary_share(const Recipe& recipe) {
  const int salient_bits = std::stoi(recipe.word("salient_bits"));
  return (salient_bits - recipe.bits) / (salient_bits - 1.0);
}

Shape shape_of(const Recipe& recipe, const Factor& factor, const Matrix<float>& gram,
               std::int64_t tokens) {
  Shape shape{factor, gram, tokens, salience_divisors(factor, recipe.word("metric")), 8, 0, true};
  shape.salient_bits = std::stoi(recipe.word("salient_bits"));
  BITGRID_ASSERT(recipe.bits <= shape.salient_bits);  // see check_pb_llm
  shape.low_frac = binary_share(recipe);
  shape.feedback = recipe.flag("feedback") && factor.u.rows > 0;
  return shape;
}

std::int64_t scope_columns(const Recipe& recipe, std::int64_t in) {
  const std::string& scope = recipe.word("mask_scope");
  if (scope == "matrix" || (scope == "group" && recipe.group < 0)) return in;
  return std::min(in, recipe.group < 0 ? kSlab : recipe.group);
}

// One linear while it is being rounded.
class PbLinear {
 public:
  PbLinear(const Shape& shape, const LinearTask& task)
      : shape_(shape),
        task_(task),
        group_(group_size(task.recipe, task.w.cols)),
        rows_(task.w.rows),
        in_(task.w.cols) {
    mask_.low_frac = shape.low_frac;
    mask_.scope = scope_columns(task.recipe, in_);
    mask_.d = shape.d;
    mask_.dead.resize(static_cast<std::size_t>(in_));
    for (const std::int32_t j : shape.factor.dead) mask_.dead[static_cast<std::size_t>(j)] = 1;
    cuts_ = Matrix<PbCut>(rows_, mask_.scopes() / shares() + 1);
  }

  // Scopes are dealt to runs of kDealtRows rows; a single one gets all threads.
  RowBlock cut_block(const Place& place) {
    RowBlock block{rows_, {RowPlane::of(cuts_)}, {}, mask_.scopes() == 1};
    block.solve = [this, &place](std::int64_t first, std::int64_t count) {
      check_weights(place, task_.w.rows_from(first, count), first);
      for (std::int64_t share = first / kDealtRows; share * kDealtRows < first + count; ++share)
        for (std::int64_t s = scopes_before(share); s < scopes_before(share + 1); ++s)
          cuts_(share * kDealtRows, s - scopes_before(share)) = pb_cut(place, mask_, task_.w, s);
    };
    return block;
  }

  RowBlock rows_block(const Place& place) {
    all_cuts_.clear();
    for (std::int64_t share = 0; share < shares(); ++share)
      for (std::int64_t s = scopes_before(share); s < scopes_before(share + 1); ++s)
        all_cuts_.push_back(cuts_(share * kDealtRows, s - scopes_before(share)));
    const std::int64_t groups = (in_ + group_ - 1) / group_;
    kinds_ = Matrix<std::uint8_t>(rows_, in_);
    codes_ = Matrix<std::uint8_t>(rows_, in_);
    means_ = Matrix<std::uint16_t>(rows_, groups);
    deviations_ = Matrix<std::uint16_t>(rows_, groups);
    scales_ = Matrix<std::uint16_t>(rows_, 1);
    zeros_ = Matrix<std::uint8_t>(rows_, 1);
    loss_ = Matrix<double>(rows_, 1);
    saturated_ = Matrix<std::int32_t>(rows_, 1);
    return {rows_,
            {RowPlane::of(kinds_), RowPlane::of(codes_), RowPlane::of(means_),
             RowPlane::of(deviations_), RowPlane::of(scales_), RowPlane::of(zeros_),
             RowPlane::of(loss_), RowPlane::of(saturated_)},
            [this, &place](std::int64_t first, std::int64_t count) { solve(place, first, count); }};
  }

  QuantizedLinear assemble() const {
    QuantizedLinear linear = assemble_pb_llm({kinds_.view(), codes_.view(), means_.view(),
                                              deviations_.view(), scales_.view(), zeros_.view()},
                                             shape_.salient_bits);
    linear.name = task_.name();
    linear.group = task_.recipe.group;
    const std::int32_t saturated =
        std::accumulate(saturated_.data(), saturated_.data() + rows_, std::int32_t{0});
    linear.arrays.push_back(index_array("saturated", {&saturated, 1}, false));
    note_factor(shape_.factor, linear.diagnostics);
    linear.diagnostics.loss = std::accumulate(loss_.data(), loss_.data() + rows_, 0.0);
    return linear;
  }

 private:
  std::int64_t shares() const { return (rows_ + kDealtRows - 1) / kDealtRows; }
  std::int64_t scopes_before(std::int64_t share) const {
    return (share * mask_.scopes() + shares() - 1) / shares();
  }

  // fp32 to what is stored of it, in place.
  void store(Matrix<float>& values, Matrix<std::uint16_t>& stored, std::int64_t first) const {
    store_scales(values.view(), stored.rows_from(first, values.rows()), first);
    for (std::int64_t r = 0; r < values.rows(); ++r)
      for (std::int64_t g = 0; g < values.cols(); ++g) {
        values(r, g) = f16_to_f32(stored(first + r, g));
        if (!std::isfinite(values(r, g)))
          throw Error(
              fmt::format("row {}, group {}: the weights are too large for fp16 (at most 65504)",
                          first + r, g));
      }
  }

  void solve(const Place& place, std::int64_t first, std::int64_t count) {
    const Matrix<float> live =
        without_dead_columns(task_.w.rows_from(first, count), shape_.factor.dead);
    const MatrixView<std::uint8_t> kinds = kinds_.rows_from(first, count);
    pb_kinds(mask_, task_.w, first, all_cuts_, kinds);
    Matrix<float> means(count, means_.cols()), deviations(count, means_.cols()), scales(count, 1);
    pb_parameters(place, group_, task_.recipe.word("parameters") == "compat", live.view(), kinds,
                  means.view(), deviations.view());
    store(means, means_, first);
    store(deviations, deviations_, first);
    UniformGrid grid;
    grid.bits = shape_.salient_bits;
    grid.scale_f16 = false;  // z belongs to s as the weights give it; s is rounded before the loop
    const MatrixView<std::uint8_t> zeros = zeros_.rows_from(first, count);
    fit_grid(place, grid, live.view(), in_, scales.view(), zeros);
    for (std::int64_t r = 0; r < count; ++r) scales(r, 0) = stored_scale({}, scales(r, 0));
    store(scales, scales_, first);
    const auto rows = static_cast<std::size_t>(count);
    PbColumns columns;
    if (shape_.feedback) columns.factor = shape_.factor.u;
    columns.group = group_;
    columns.salient_bits = shape_.salient_bits;
    pb_rows(place, columns,
            {live.view(),
             kinds,
             means.view(),
             deviations.view(),
             scales.view(),
             zeros,
             codes_.rows_from(first, count),
             {loss_.row(first), rows},
             {saturated_.row(first), rows}});
    if (!shape_.feedback) measure(place, first, live, means, deviations, scales);
  }

  void measure(const Place& place, std::int64_t first, const Matrix<float>& live,
               const Matrix<float>& means, const Matrix<float>& deviations,
               const Matrix<float>& scales) {
    Matrix<float> off = live.clone();
    for (std::int64_t r = 0; r < off.rows(); ++r)
      for (std::int64_t j = 0; j < in_; ++j)
        off(r, j) -= pb_value(static_cast<PbKind>(kinds_(first + r, j)), codes_(first + r, j),
                              means(r, j / group_), deviations(r, j / group_), scales(r, 0),
                              zeros_(first + r, 0));
    measure_objective(place, off.view(), shape_.gram, shape_.factor, shape_.tokens,
                      {loss_.row(first), static_cast<std::size_t>(off.rows())});
  }

  const Shape& shape_;
  const LinearTask& task_;
  std::int64_t group_, rows_, in_;
  PbMask mask_;
  Matrix<PbCut> cuts_;  // [rows, most scopes of a share]
  std::vector<PbCut> all_cuts_;
  Matrix<std::uint8_t> kinds_, codes_;
  Matrix<std::uint16_t> means_, deviations_, scales_;
  Matrix<std::uint8_t> zeros_;
  Matrix<double> loss_;
  Matrix<std::int32_t> saturated_;
};

}  // namespace

std::vector<QuantizedLinear> round_pb_llm(const Place& place, const TapTask& task, TapWork& work) {
  const Recipe& recipe = task.recipe();
  const Factor factor = shared_factor(place, work, {recipe.number("damp"), "none", recipe.group});
  const Shape shape = shape_of(recipe, factor, shared_gram(work), work.tokens());
  std::vector<PbLinear> all;
  all.reserve(task.linears.size());
  std::vector<RowBlock> blocks;
  for (const LinearTask& linear : task.linears) all.emplace_back(shape, linear);
  for (PbLinear& linear : all) blocks.push_back(linear.cut_block(place));
  work.solve_rows(blocks);
  blocks.clear();
  for (PbLinear& linear : all) blocks.push_back(linear.rows_block(place));
  work.solve_rows(blocks);
  std::vector<QuantizedLinear> linears;
  for (const PbLinear& linear : all) linears.push_back(linear.assemble());
  return linears;
}

std::int64_t pb_binary_weights(const Recipe& recipe, std::int64_t rows, std::int64_t cols) {
  const std::int64_t scope = scope_columns(recipe, cols);
  const double share = binary_share(recipe);
  return cols / scope * pb_binary_count(rows * scope, share) +
         pb_binary_count(rows * (cols % scope), share);
}

void check_pb_llm(const Recipe& recipe) {
  const std::string& salient = recipe.word("salient_bits");
  if (recipe.bits > std::stoi(salient))
    throw InputError(
        fmt::format("option 'salient_bits': {} bits on average cannot be had with "
                    "salient weights of {} bits",
                    recipe.bits, salient));
}

}  // namespace bitgrid
