#include "core/methods/method.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/methods/activation_grids.hpp"
#include "core/methods/recipe_needs.hpp"
#include "kernels/error.hpp"
#include "kernels/parallel.hpp"
#include "kernels/quadratic_form.hpp"
#include "kernels/sha256.hpp"

namespace bitgrid {
namespace {

enum ErrorColumn { kWeightError, kWeightNorm, kOutputError, kOutputNorm, kErrorColumns };

double squared_norm(const float* v, std::int64_t count) {
  double sum = 0;
  for (std::int64_t i = 0; i < count; ++i)
    sum += static_cast<double>(v[i]) * static_cast<double>(v[i]);
  return sum;
}

// d_r S d_rᵀ for each row. A squared norm: rounding errors of the products may push a tiny one
// below zero.
std::vector<double> output_norms(const Place& place, MatrixView<const float> d,
                                 const Matrix<float>& gram) {
  std::vector<double> values(static_cast<std::size_t>(d.rows));
  quadratic_form(place, d, gram.view(), values);
  for (double& value : values) value = std::max(value, 0.0);
  return values;
}

// What names a weight among those that cells with the same inputs may have.
std::string weight_name(const Place& place, MatrixView<const float> w) {
  constexpr std::int64_t kTiles = 16;
  const std::int64_t tile = (w.rows + kTiles - 1) / kTiles;
  std::vector<std::string> parts(kTiles);
  parallel_for(place, kTiles, [&](std::int64_t i) {
    for (std::int64_t r = i * tile; r < std::min(w.rows, (i + 1) * tile); ++r)
      parts[static_cast<std::size_t>(i)] +=
          sha256_hex(std::as_bytes(std::span(w.row(r), static_cast<std::size_t>(w.cols))));
  });
  std::string all;
  for (const std::string& part : parts) all += part;
  return fmt::format("{}x{} {}", w.rows, w.cols, sha256_hex(std::as_bytes(std::span(all))));
}

// errors [rows, kErrorColumns]
//   norms: w_r S w_rᵀ of these rows where they are known already, else empty
void measure_rows(const Place& place, MatrixView<const float> w, MatrixView<const float> q,
                  const Matrix<float>* gram, std::span<const double> norms,
                  MatrixView<double> errors) {
  Matrix<float> off(w.rows, w.cols);
  for (std::int64_t r = 0; r < w.rows; ++r) {
    float* d = off.row(r);
    for (std::int64_t j = 0; j < w.cols; ++j) d[j] = w(r, j) - q(r, j);
    errors(r, kWeightError) = squared_norm(d, w.cols);
    errors(r, kWeightNorm) = squared_norm(w.row(r), w.cols);
    errors(r, kOutputError) = errors(r, kOutputNorm) = std::numeric_limits<double>::quiet_NaN();
  }
  if (gram == nullptr) return;
  const std::vector<double> error = output_norms(place, off.view(), *gram);
  const std::vector<double> made =
      norms.empty() ? output_norms(place, w, *gram) : std::vector<double>();
  if (norms.empty()) norms = made;
  for (std::int64_t r = 0; r < w.rows; ++r) {
    errors(r, kOutputError) = error[static_cast<std::size_t>(r)];
    errors(r, kOutputNorm) = norms[static_cast<std::size_t>(r)];
  }
}

double total(const Matrix<double>& errors, ErrorColumn column) {
  double sum = 0;
  for (std::int64_t r = 0; r < errors.rows(); ++r) sum += errors(r, column);
  return sum;
}

double ratio(const Matrix<double>& errors, ErrorColumn part, ErrorColumn whole) {
  const double a = total(errors, part), b = total(errors, whole);
  return b > 0 ? a / b : a == 0 ? 0 : a / b;
}

// [rows, kErrorColumns] of each linear of the task, from the weight that stands for it.
std::vector<Matrix<double>> measure_errors(const Place& place, const TapTask& task, TapWork& work,
                                           std::span<const MatrixView<const float>> weights,
                                           std::span<LinearDiagnostics* const> diagnostics) {
  BITGRID_ASSERT(weights.size() == task.linears.size() &&
                 diagnostics.size() == task.linears.size());
  const bool known = task.gram_is_known || recipe_needs(task.recipe()).rounding.gram;
  const Matrix<float>* gram = known ? &shared_gram(work) : nullptr;
  // Half of this work concerns the unquantized weights, which cells with the same inputs share.
  const bool shares = known && (task.gram_is_known || recipe_full_inputs(task.recipe()));
  std::vector<std::vector<double>*> kept(weights.size(), nullptr);
  if (shares)
    for (std::size_t i = 0; i < weights.size(); ++i)
      kept[i] = &work.kept("output norms of " + weight_name(place, task.linears[i].w));
  std::vector<Matrix<double>> errors;
  errors.reserve(weights.size());
  std::vector<RowBlock> blocks;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    Matrix<double>& rows = errors.emplace_back(task.linears[i].w.rows, kErrorColumns);
    const MatrixView<const float> w = task.linears[i].w;
    const MatrixView<const float> q = weights[i];
    const std::span<const double> norms =
        kept[i] == nullptr ? std::span<const double>() : std::span<const double>(*kept[i]);
    const auto solve = [&place, &rows, w, q, gram, norms](std::int64_t first, std::int64_t count) {
      const auto part = norms.empty() ? norms
                                      : norms.subspan(static_cast<std::size_t>(first),
                                                      static_cast<std::size_t>(count));
      measure_rows(place, w.rows_from(first, count), q.rows_from(first, count), gram, part,
                   rows.rows_from(first, count));
    };
    blocks.push_back({w.rows, {RowPlane::of(rows)}, solve});
  }
  work.solve_rows(blocks);
  for (std::size_t i = 0; i < weights.size(); ++i)
    if (kept[i] != nullptr && kept[i]->empty())
      for (std::int64_t r = 0; r < errors[i].rows(); ++r)
        kept[i]->push_back(errors[i](r, kOutputNorm));
  for (std::size_t i = 0; i < weights.size(); ++i) {
    diagnostics[i]->relative_weight_error = ratio(errors[i], kWeightError, kWeightNorm);
    diagnostics[i]->relative_output_error = ratio(errors[i], kOutputError, kOutputNorm);
  }
  return errors;
}

const StoredArray* find(const std::vector<StoredArray>& arrays, const std::string& name) {
  for (const StoredArray& array : arrays)
    if (array.name == name) return &array;
  return nullptr;
}

void set_norm(const std::vector<StoredArray>& arrays, const std::string& name,
              Matrix<float>& norm) {
  const StoredArray* array = find(arrays, name);
  if (array == nullptr) return;
  if (array->dtype != DType::bf16 || array->shape != std::vector<std::int64_t>{norm.cols()} ||
      static_cast<std::int64_t>(array->data.size()) != 2 * norm.cols())
    throw Error(fmt::format("array '{}' must be {} values of bf16", name, norm.cols()));
  for (std::int64_t j = 0; j < norm.cols(); ++j) {
    std::uint16_t bits = 0;
    std::memcpy(&bits, array->data.data() + 2 * j, sizeof bits);
    norm(0, j) = bf16_to_f32(bits);
  }
}

void set_fixed_scales(const std::vector<StoredArray>& arrays, ActivationGrids& grids) {
  const StoredArray* array = find(arrays, "activation_scale");
  std::array<float, kTapCount> scales = {};
  if (array == nullptr || array->dtype != DType::f32 ||
      array->shape != std::vector<std::int64_t>{kTapCount} || array->data.size() != sizeof scales)
    throw Error(fmt::format("array 'activation_scale' must be {} values of f32", kTapCount));
  std::memcpy(scales.data(), array->data.data(), sizeof scales);
  for (const Tap tap : kTaps) {
    const float scale = scales[static_cast<std::size_t>(tap)];
    if (!(scale > 0) || !std::isfinite(scale))
      throw Error(fmt::format("array 'activation_scale' holds {}; scales are positive", scale));
    grids[tap].scale = scale;
  }
}

}  // namespace

std::vector<RoundedLinear> round_unmeasured(const Place& place, const TapTask& task,
                                            TapWork& work) {
  std::vector<RoundedLinear> rounded;
  for (QuantizedLinear& linear : recipe_rounding(task.recipe())(place, task, work)) {
    RoundedLinear& r = rounded.emplace_back();
    r.stored = std::move(linear);
    r.weight = rebuild_weight(place, r.stored);
  }
  BITGRID_ASSERT(rounded.size() == task.linears.size());
  return rounded;
}

std::vector<RoundedLinear> round_tap(const Place& place, const TapTask& task, TapWork& work) {
  std::vector<RoundedLinear> rounded = round_unmeasured(place, task, work);
  std::vector<MatrixView<const float>> weights;
  std::vector<LinearDiagnostics*> diagnostics;
  for (RoundedLinear& r : rounded) {
    weights.push_back(r.weight.view());
    diagnostics.push_back(&r.stored.diagnostics);
  }
  measure_errors(place, task, work, weights, diagnostics);
  return rounded;
}

void measure_again(const Place& place, const TapTask& task, TapWork& work,
                   std::span<const MatrixView<const float>> weights,
                   std::span<LinearDiagnostics* const> diagnostics) {
  const std::vector<Matrix<double>> errors =
      measure_errors(place, task, work, weights, diagnostics);
  const auto tokens = static_cast<double>(std::max<std::int64_t>(work.tokens(), 1));
  for (std::size_t i = 0; i < errors.size(); ++i)
    diagnostics[i]->loss = total(errors[i], kOutputError) / tokens;
}

void apply_layer_arrays(const Recipe& recipe, const std::vector<StoredArray>& arrays,
                        LayerWeights& weights) {
  set_norm(arrays, "input_layernorm.weight", weights.input_norm);
  set_norm(arrays, "post_attention_layernorm.weight", weights.post_attention_norm);
  weights.activations = recipe_activation_grids(recipe);
  if (static_activations(recipe)) set_fixed_scales(arrays, weights.activations);
}

}  // namespace bitgrid
