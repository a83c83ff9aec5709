// Gram matrix of 16384 tokens: all threads on fixed tiles, against OpenBLAS's own threads on the
// whole triangle.
#include <cblas.h>
#include <fmt/format.h>

#include <cmath>
#include <cstdlib>

#include "kernels/gram.hpp"
#include "kernels/parallel.hpp"
#include "tests/bench/bench_report.hpp"
#include "tests/tolerance.hpp"

namespace bitgrid::bench {
namespace {

void reference(int threads, const Matrix<float>& x, Matrix<float>& s) {
  openblas_set_num_threads(threads);
  const int in = static_cast<int>(x.cols());
  cblas_ssyrk(CblasRowMajor, CblasLower, CblasTrans, in, static_cast<int>(x.rows()), 1.0f, x.data(),
              in, 0.0f, s.data(), in);
  openblas_set_num_threads(1);
}

// Values lie in [−1, 1): the magnitudes of a sum add up to less than the number of tokens.
bool agree(const Matrix<double>& a, const Matrix<float>& b, std::int64_t tokens) {
  const double tolerance = test::dot_tolerance(tokens, static_cast<double>(tokens));
  for (std::int64_t i = 0; i < a.rows(); ++i)
    for (std::int64_t j = 0; j <= i; ++j)
      if (!(std::fabs(a(i, j) - static_cast<double>(b(i, j))) <= tolerance)) return false;
  return true;
}

int run(std::int64_t in, std::int64_t tokens, int threads, int repeats) {
  const Place place = cpu_place(threads);
  const Matrix<float> x = random_matrix(tokens, in, 1.0f, 1);
  Matrix<double> ours(in, in);
  Matrix<float> theirs(in, in);
  ours.fill(0);
  accumulate_gram(place, x.view(), ours.view());  // warm-up and check
  reference(threads, x, theirs);
  if (!agree(ours, theirs, tokens)) {
    fmt::print(stderr, "gram_bench: the results differ; no time is reported\n");
    return 1;
  }
  std::vector<double> our_times, their_times;
  for (int i = 0; i < repeats; ++i) {  // in turn, so that both see the same machine
    our_times.push_back(seconds([&] { accumulate_gram(place, x.view(), ours.view()); }));
    their_times.push_back(seconds([&] { reference(threads, x, theirs); }));
  }
  const Spread our = spread_of(our_times), their = spread_of(their_times);
  const double flops = static_cast<double>(tokens) * static_cast<double>(in) *
                       static_cast<double>(in + 1);  // multiply and add, one triangle
  fmt::print(
      "{{\"bench\": \"gram\", \"in\": {}, \"tokens\": {}, \"threads\": {}, \"median_s\": {:.4f}, "
      "\"spread\": {:.3f}, \"gflops\": {:.1f}, \"ssyrk_median_s\": {:.4f}, \"ssyrk_spread\": "
      "{:.3f}, \"ssyrk_gflops\": {:.1f}, \"rate_vs_ssyrk\": {:.3f}, \"blas\": \"{}\", "
      "\"compiler\": \"{}\"}}\n",
      in, tokens, threads, our.median, our.relative(), flops / our.median * 1e-9, their.median,
      their.relative(), flops / their.median * 1e-9, their.median / our.median, blas_core_name(),
      __VERSION__, commit());
  fmt::print("gram {} x {}: {:.1f} GFLOP/s on {} threads, {:.0f} % of ssyrk's {:.1f}\n", tokens, in,
             flops / our.median * 1e-9, threads, 100 * their.median / our.median,
             flops / their.median * 1e-9);
  return 0;
}

}  // namespace
}  // namespace bitgrid::bench

// gram_bench [in] [tokens] [threads] [repeats]
int main(int argc, char** argv) {
  const auto argument = [&](int i, int fallback) {
    return argc > i ? std::atoi(argv[i]) : fallback;
  };
  return bitgrid::bench::run(argument(1, 4096), argument(2, 16384), argument(3, 2), argument(4, 5));
}
