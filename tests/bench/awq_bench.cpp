// AWQ of one linear judged by its own output, from inputs and weight to rounded weight: mean
// magnitudes and Gram matrices of the inputs, the search over 20 exponents, the clip search,
// rounding. Writes inputs and weight as .npy for tests/bench/peers/awq_peer.py, which does the same
// in torch.
#include <fmt/format.h>

#include <cmath>
#include <cstdlib>
#include <string>

#include "core/methods/awq_search.hpp"
#include "core/methods/grid.hpp"
#include "core/methods/recipe_needs.hpp"
#include "core/methods/resolve_recipe.hpp"
#include "kernels/clip_search.hpp"
#include "kernels/fake_quantize_weights.hpp"
#include "kernels/quadratic_form.hpp"
#include "tests/bench/bench_cases.hpp"
#include "tests/core/methods/solo_work.hpp"

namespace bitgrid::bench {
namespace {

struct Run {
  double statistics_s = 0, search_s = 0, clip_s = 0;
  double exponent = 0;
  Matrix<float> value;  // what stands for w
};

Matrix<float> clip_blocks(const Statistics& x, std::int64_t group, const std::vector<float>& s) {
  Matrix<float> blocks(x.sampled_gram.rows(), group);
  for (std::int64_t i = 0; i < blocks.rows(); ++i)
    for (std::int64_t k = 0; k < group; ++k) {
      const std::int64_t j = i / group * group + k;
      const double product = static_cast<double>(s[static_cast<std::size_t>(i)]) *
                             static_cast<double>(s[static_cast<std::size_t>(j)]);
      blocks(i, k) = static_cast<float>(x.sampled_gram(std::max(i, j), std::min(i, j)) / product);
    }
  return blocks;
}

Run run(const Place& place, const Recipe& recipe, const Matrix<float>& x, const Matrix<float>& w) {
  Run r;
  std::unique_ptr<test::SoloTapWork> work;
  r.statistics_s = seconds([&] {
    work = std::make_unique<test::SoloTapWork>(place, x.view(),
                                               recipe_needs(recipe).transforms.front());
  });
  std::vector<float> s;
  r.search_s = seconds([&] {
    ChannelSizes sizes;
    for (const double sum : work->abs_sum())
      sizes.input.push_back(sum / static_cast<double>(x.rows()));
    const std::vector<ScalePoint> points = scale_points(recipe);
    Scales scales;
    for (const ScalePoint& point : points) scales.push_back(scale_of_point(point, sizes));
    const LinearTask linear{Linear::o, w.view(), recipe};
    const auto best =
        static_cast<std::size_t>(best_point(linear_losses(place, *work, {&linear, 1}, scales)));
    s = scales[best];
    r.exponent = points[best].exponent;
  });
  r.clip_s = seconds([&] {
    const std::int64_t group = group_size(recipe, w.cols());
    const UniformGrid grid = recipe_grid(recipe);
    Matrix<float> scaled = w.clone();
    for (std::int64_t i = 0; i < w.rows(); ++i)
      for (std::int64_t j = 0; j < w.cols(); ++j) scaled(i, j) *= s[static_cast<std::size_t>(j)];
    Matrix<std::uint8_t> steps(w.rows(), w.cols() / group);
    const Matrix<float> blocks = clip_blocks(work->statistics(), group, s);
    search_clip(place, grid, scaled.view(), blocks.view(), steps.view());
    clip_groups(place, steps.view(), scaled.view());
    r.value = Matrix<float>(w.rows(), w.cols());
    fake_quantize_weights(place, grid, scaled.view(), group, {}, r.value.view());
    for (std::int64_t i = 0; i < w.rows(); ++i)
      for (std::int64_t j = 0; j < w.cols(); ++j) r.value(i, j) /= s[static_cast<std::size_t>(j)];
  });
  return r;
}

// tr((W − Q) XᵀX (W − Q)ᵀ) / tr(W XᵀX Wᵀ)
double loss(const Place& place, const Matrix<float>& x, const Matrix<float>& w,
            const Matrix<float>& q) {
  test::SoloTapWork work(place, x.view(), {.gram = true});
  const Matrix<float>& gram = shared_gram(work);
  Matrix<float> off(w.rows(), w.cols());
  for (std::int64_t i = 0; i < w.size(); ++i) off.data()[i] = w.data()[i] - q.data()[i];
  std::vector<double> error(static_cast<std::size_t>(w.rows())), norm(error);
  quadratic_form(place, off.view(), gram.view(), error);
  quadratic_form(place, w.view(), gram.view(), norm);
  double a = 0, b = 0;
  for (std::size_t i = 0; i < error.size(); ++i) {
    a += error[i];
    b += norm[i];
  }
  return a / b;
}

}  // namespace
}  // namespace bitgrid::bench

// awq_bench DIRECTORY [rows] [in] [tokens] [bits] [group] [threads] [runs]: leaves W.npy and X.npy
// there.
int main(int argc, char** argv) {
  using namespace bitgrid;
  using namespace bitgrid::bench;
  if (argc < 2) {
    fmt::print(stderr,
               "usage: awq_bench DIRECTORY [rows] [in] [tokens] [bits] [group] [threads] [runs]\n");
    return 2;
  }
  const auto argument = [&](int i, int fallback) {
    return argc > i ? std::atoi(argv[i]) : fallback;
  };
  const int rows = argument(2, 1024), in = argument(3, 1024), tokens = argument(4, 16384);
  const int bits = argument(5, 4), group = argument(6, 128), threads = argument(7, 2);
  const int runs = argument(8, 3);
  const Place place = cpu_place(threads);
  const Recipe recipe = resolve_recipe("awq", bits, group, {});
  const Matrix<float> x = correlated_inputs(tokens, in);
  const Matrix<float> w = bell_weights(rows, in);
  write_npy(std::string(argv[1]) + "/X.npy", x);
  write_npy(std::string(argv[1]) + "/W.npy", w);
  if (runs > 1) run(place, recipe, x, w);  // warm-up
  std::vector<double> total, statistics, search, clip;
  Run last;
  const double cpu_before = cpu_seconds();
  for (int i = 0; i < runs; ++i) {
    last = run(place, recipe, x, w);
    statistics.push_back(last.statistics_s);
    search.push_back(last.search_s);
    clip.push_back(last.clip_s);
    total.push_back(last.statistics_s + last.search_s + last.clip_s);
  }
  const double cpu_s = (cpu_seconds() - cpu_before) / runs;
  fmt::print(
      "{{\"bench\": \"awq\", \"rows\": {}, \"in\": {}, \"tokens\": {}, \"bits\": {}, \"group\": "
      "{}, "
      "\"threads\": {}, \"seconds\": {:.4f}, \"spread\": {:.3f}, \"cpu_s\": {:.4f}, "
      "\"statistics_s\": {:.4f}, "
      "\"search_s\": {:.4f}, \"clip_s\": {:.4f}, \"loss\": {:.9f}, \"exponent\": {}, \"blas\": "
      "\"{}\", "
      "\"commit\": \"{}\"}}\n",
      rows, in, tokens, bits, group, threads, spread_of(total).median, spread_of(total).relative(),
      cpu_s, spread_of(statistics).median, spread_of(search).median, spread_of(clip).median,
      loss(place, x, w, last.value), last.exponent, blas_core_name(), commit());
  return 0;
}
