// GPTQ of one linear, its Gram matrix given, 4 bits in groups of 128: against the algorithm as it
// is written down, one rank-1 update of all remaining columns per column (cblas_sger), in fp32 on
// the same number of threads.
#include <cblas.h>
#include <fmt/format.h>

#include <cmath>
#include <cstdlib>
#include <numeric>
#include <string>

#include "core/methods/factor.hpp"
#include "core/methods/recipe_needs.hpp"
#include "core/methods/resolve_recipe.hpp"
#include "kernels/gram.hpp"
#include "tests/bench/bench_report.hpp"
#include "tests/core/methods/solo_work.hpp"

extern "C" {
void spotrf_(const char* uplo, const int* n, float* a, const int* lda, int* info);
void spotri_(const char* uplo, const int* n, float* a, const int* lda, int* info);
}

namespace bitgrid::bench {
namespace {

constexpr std::int64_t kGroup = 128;
constexpr float kMaxq = 15;

struct Run {
  double factor_s = 0, rows_s = 0, loss = 0;
  double total_s() const { return factor_s + rows_s; }
};

Matrix<float> make_inputs(std::int64_t tokens, std::int64_t in) {
  Matrix<float> x = random_matrix(tokens, in, 1.0f, 1);
  for (std::int64_t t = 0; t < tokens;
       ++t)  // neighbours are correlated and channels differ in size
    for (std::int64_t j = 1; j < in; ++j)
      x(t, j) = (0.5f * x(t, j - 1) + x(t, j)) * (j % 61 == 0 ? 4.0f : 1.0f);
  return x;
}

Statistics make_statistics(const Place& place, std::int64_t tokens, std::int64_t in) {
  const Matrix<float> x = make_inputs(tokens, in);
  Statistics s;
  s.gram = Matrix<double>(in, in);
  s.gram.fill(0);
  s.tokens = tokens;
  accumulate_gram(place, x.view(), s.gram.view());
  return s;
}

Statistics copy_of(const Statistics& s) {
  Statistics copy;
  copy.gram = s.gram.clone();
  copy.tokens = s.tokens;
  return copy;
}

// diagnostics: also the errors of weight and output, which cost two more products of the weight's
// size with S.
Run ours(const Place& place, const Statistics& statistics, const Matrix<float>& w,
         bool diagnostics) {
  const Recipe recipe = resolve_recipe("gptq", 4, kGroup, {});
  const TapTask task = test::task_of(recipe, {w.view()});
  test::SoloTapWork work(place, copy_of(statistics));
  Run run;
  run.factor_s = seconds([&] {
    shared_factor(place, work, {recipe.number("damp"), recipe.word("order"), recipe.group});
  });
  std::vector<QuantizedLinear> linears;
  run.rows_s = seconds([&] {
    if (diagnostics)
      linears.push_back(std::move(round_tap(place, task, work).front().stored));
    else
      linears = recipe_rounding(recipe)(place, task, work);
  });
  run.loss = linears.front().diagnostics.loss;
  return run;
}

// H = 2S/N, damped, in descending order of its diagonal, to its inverse's upper factor by the usual
// three LAPACK calls.
Matrix<float> plain_factor(const Statistics& s, std::vector<std::int32_t>& order) {
  const std::int64_t in = s.gram.cols();
  const auto at = [&](std::int64_t a, std::int64_t b) {
    return 2.0f / static_cast<float>(s.tokens) *
           static_cast<float>(s.gram(std::max(a, b), std::min(a, b)));
  };
  order.resize(static_cast<std::size_t>(in));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return at(a, a) > at(b, b); });
  double mean = 0;
  for (std::int64_t j = 0; j < in; ++j)
    mean += static_cast<double>(at(j, j)) / static_cast<double>(in);
  Matrix<float> h(in, in);
  for (std::int64_t i = 0; i < in; ++i)
    for (std::int64_t j = 0; j < in; ++j)
      h(i, j) = at(order[static_cast<std::size_t>(i)], order[static_cast<std::size_t>(j)]) +
                (i == j ? static_cast<float>(0.01 * mean) : 0.0f);
  const int n = static_cast<int>(in);
  int info = 0;
  // Column-major and symmetric: LAPACK's lower triangle is ours above the diagonal.
  spotrf_("L", &n, h.data(), &n, &info);
  if (info == 0) spotri_("L", &n, h.data(), &n, &info);
  if (info == 0) spotrf_("L", &n, h.data(), &n, &info);
  if (info != 0) throw Error("gptq_bench: the plain factorization failed");
  return h;
}

struct Grid {
  float scale, zero;
};

Grid plain_grid(const float* w) {
  float lo = 0, hi = 0;
  for (std::int64_t j = 0; j < kGroup; ++j) {
    lo = std::min(lo, w[j]);
    hi = std::max(hi, w[j]);
  }
  const float scale = f16_to_f32(f32_to_f16((hi - lo) / kMaxq));
  return {scale, std::clamp(std::rint(-lo / scale), 0.0f, kMaxq)};
}

Run plain(int threads, const Statistics& statistics, const Matrix<float>& weight) {
  openblas_set_num_threads(threads);
  Run run;
  std::vector<std::int32_t> order;
  Matrix<float> u;
  run.factor_s = seconds([&] { u = plain_factor(statistics, order); });
  run.rows_s = seconds([&] {
    const std::int64_t rows = weight.rows(), in = weight.cols(), groups = in / kGroup;
    Matrix<Grid> grids(rows, groups);
    Matrix<float> w(rows, in);
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t g = 0; g < groups; ++g)
        grids(r, g) = plain_grid(weight.row(r) + g * kGroup);
      for (std::int64_t i = 0; i < in; ++i) w(r, i) = weight(r, order[static_cast<std::size_t>(i)]);
    }
    std::vector<float> error(static_cast<std::size_t>(rows));
    for (std::int64_t i = 0; i < in; ++i) {
      const std::int64_t group = order[static_cast<std::size_t>(i)] / kGroup;
      for (std::int64_t r = 0; r < rows; ++r) {
        const Grid g = grids(r, group);
        const float code = std::clamp(std::rint(w(r, i) / g.scale) + g.zero, 0.0f, kMaxq);
        const float e = (w(r, i) - g.scale * (code - g.zero)) / u(i, i);
        error[static_cast<std::size_t>(r)] = e;
        run.loss += 0.5 * static_cast<double>(e) * static_cast<double>(e);
      }
      const int left = static_cast<int>(in - i - 1);
      if (left > 0)
        cblas_sger(CblasRowMajor, static_cast<int>(rows), left, -1.0f, error.data(), 1,
                   &u(i, i + 1), 1, &w(0, i + 1), static_cast<int>(in));
    }
  });
  openblas_set_num_threads(1);
  return run;
}

int compare(std::int64_t rows, std::int64_t in, int threads, int repeats) {
  const Place place = cpu_place(threads);
  const Statistics statistics = make_statistics(place, 2 * in, in);
  const Matrix<float> w = random_matrix(rows, in, 0.05f, 2);
  ours(place, statistics, w, false);  // warm-up
  std::vector<double> total, loop, full;
  Run bare, diagnosed;
  for (int i = 0; i < repeats; ++i) {
    bare = ours(place, statistics, w, false);
    diagnosed = ours(place, statistics, w, true);
    total.push_back(bare.total_s());
    loop.push_back(bare.rows_s);
    full.push_back(diagnosed.total_s());
  }
  const Run reference = plain(threads, statistics, w);  // slow enough to be timed once
  const double loss_ratio = bare.loss / reference.loss;
  if (!(std::fabs(loss_ratio - 1) < 0.01) || bare.loss != diagnosed.loss) {
    fmt::print(stderr, "gptq_bench: losses {} and {} differ; no time is reported\n", bare.loss,
               reference.loss);
    return 1;
  }
  const Spread our = spread_of(total), rows_only = spread_of(loop), all = spread_of(full);
  fmt::print(
      "{{\"bench\": \"gptq\", \"rows\": {}, \"in\": {}, \"bits\": 4, \"group\": {}, \"threads\": "
      "{}, \"median_s\": {:.3f}, \"spread\": {:.3f}, \"rows_median_s\": {:.3f}, "
      "\"with_output_error_s\": {:.3f}, \"plain_s\": {:.3f}, \"plain_rows_s\": {:.3f}, "
      "\"speedup\": {:.2f}, \"rows_speedup\": {:.2f}, \"speedup_with_output_error\": {:.2f}, "
      "\"loss_ratio\": {:.6f}, \"blas\": \"{}\", \"compiler\": \"{}\"}}\n",
      rows, in, kGroup, threads, our.median, our.relative(), rows_only.median, all.median,
      reference.total_s(), reference.rows_s, reference.total_s() / our.median,
      reference.rows_s / rows_only.median, reference.total_s() / all.median, loss_ratio,
      blas_core_name(), __VERSION__, commit());
  fmt::print(
      "gptq {} x {}: {:.2f} s ({:.2f} s with output error), column by column {:.2f} s: {:.1f} "
      "times faster, loss {:+.4f} %\n",
      rows, in, our.median, all.median, reference.total_s(), reference.total_s() / our.median,
      100 * (loss_ratio - 1));
  return 0;
}

void once(std::int64_t rows, std::int64_t in, int threads) {
  const Place place = cpu_place(threads);
  const Statistics statistics = make_statistics(place, 2048, in);
  const Matrix<float> w = random_matrix(rows, in, 0.05f, 2);
  const Run run = ours(place, statistics, w, true);
  fmt::print(
      "{{\"bench\": \"gptq\", \"rows\": {}, \"in\": {}, \"threads\": {}, \"factor_s\": {:.2f}, "
      "\"rows_s\": {:.2f}, \"blas\": \"{}\", \"compiler\": \"{}\"}}\n",
      rows, in, threads, run.factor_s, run.rows_s, blas_core_name(), __VERSION__, commit());
  fmt::print("gptq {} x {}: factor {:.1f} s, rows {:.1f} s with output error\n", rows, in,
             run.factor_s, run.rows_s);
}

}  // namespace
}  // namespace bitgrid::bench

// gptq_bench [--large] [rows] [in] [threads] [repeats]; --large: the two MLP shapes of LLaMA3-8B,
// once each.
int main(int argc, char** argv) {
  const bool large = argc > 1 && std::string(argv[1]) == "--large";
  const auto argument = [&](int i, int fallback) {
    return argc > i + large ? std::atoi(argv[i + large]) : fallback;
  };
  const int threads = argument(3, 2);
  if (large) {
    bitgrid::bench::once(14336, 4096, threads);
    bitgrid::bench::once(4096, 14336, threads);
    return 0;
  }
  return bitgrid::bench::compare(argument(1, 4096), argument(2, 4096), threads, argument(4, 3));
}
