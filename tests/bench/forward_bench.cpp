// The forward pass of one decoder layer with LLaMA3-8B's shapes, against what the BLAS library's
// own threads reach on the same seven products. Usage: forward_bench [runs] [threads] [tokens]

#include <cblas.h>
#include <fmt/format.h>

#include <cmath>
#include <cstdlib>

#include "core/model/cost.hpp"
#include "core/model/segments.hpp"
#include "kernels/parallel.hpp"
#include "kernels/scratch.hpp"
#include "tests/bench/bench_report.hpp"

namespace bitgrid {
namespace {

LlamaConfig llama3_8b() {
  LlamaConfig config;
  config.hidden_size = 4096;
  config.intermediate_size = 14336;
  config.head_count = 32;
  config.kv_head_count = 8;
  config.head_size = 128;
  config.vocab_size = 128256;
  config.rms_norm_eps = 1e-5;
  config.rope_theta = 500000;
  return config;
}

// Uniform with the variance 1 / cols, from a multiplicative congruence: quick, and the same
// everywhere.
Matrix<float> random_weights(const Place& place, std::int64_t rows, std::int64_t cols,
                             std::uint64_t seed) {
  Matrix<float> w(rows, cols);
  const double width = std::sqrt(12.0 / static_cast<double>(cols));
  parallel_for(place, rows, [&](std::int64_t r) {
    std::uint64_t state = seed * 1000003 + static_cast<std::uint64_t>(r) * 2654435761u + 1;
    for (std::int64_t c = 0; c < cols; ++c) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      w(r, c) =
          static_cast<float>(width * (static_cast<double>(state >> 40) / double(1 << 24) - 0.5));
    }
  });
  return w;
}

class Layer {
 public:
  Layer(const Place& place, std::int64_t tokens)
      : place_(place),
        table_(make_rope_table(config_, tokens)),
        input_(random_weights(place, tokens, 4096, 99)) {
    weights_.input_norm = Matrix<float>(1, config_.hidden_size);
    weights_.input_norm.fill(1.0f);
    weights_.post_attention_norm = weights_.input_norm.clone();
    for (const Linear linear : kLinears)
      weights_[linear] =
          random_weights(place, linear_rows(config_, linear), linear_cols(config_, linear),
                         static_cast<std::uint64_t>(linear) + 1);
    for (const Tap tap : kTaps)
      taps_[static_cast<int>(tap)] = random_weights(place, tokens, tap_size(config_, tap), 50);
    x_ = input_.clone();
    product_ = Matrix<float>(tokens, config_.intermediate_size);
  }

  // x starts afresh, so that every run sees the same numbers.
  double forward_s() {
    std::copy_n(input_.data(), input_.size(), x_.data());
    return bench::seconds(
        [&] { layer_forward(place_, config_, weights_, table_, x_.view(), scratch_); });
  }

  // The seven products alone, one call each, on BLAS's own threads.
  double blas_s(int threads) {
    openblas_set_num_threads(threads);
    const double elapsed = bench::seconds([&] {
      for (const Tap tap : kTaps)
        for (const Linear linear : linears_of(tap))
          blas_linear(taps_[static_cast<int>(tap)], linear);
    });
    openblas_set_num_threads(1);
    return elapsed;
  }

  // The largest difference between the forward pass and one that takes its products from single
  // BLAS calls and its attention, for some rows, from plain fp64 loops; relative to the largest
  // value.
  double error();

  LayerFlops flops() const { return layer_flops(config_, {1, input_.rows()}); }

 private:
  void blas_linear(const Matrix<float>& x, Linear linear) {
    const Matrix<float>& w = weights_[linear];
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, static_cast<int>(x.rows()),
                static_cast<int>(w.rows()), static_cast<int>(w.cols()), 1.0f, x.data(),
                static_cast<int>(w.cols()), w.data(), static_cast<int>(w.cols()), 0.0f,
                product_.data(), static_cast<int>(w.rows()));
  }
  MatrixView<const float> product(Linear linear) const {
    return {product_.data(), input_.rows(), linear_rows(config_, linear)};
  }
  void run_segments();
  double attention_error();

  Place place_;
  LlamaConfig config_ = llama3_8b();
  RopeTable table_;
  Matrix<float> input_;
  LayerWeights weights_;
  Matrix<float> taps_[4];
  Matrix<float> x_;
  Matrix<float> product_;
  LayerScratch scratch_;
};

void Layer::run_segments() {
  std::copy_n(input_.data(), input_.size(), x_.data());
  SegmentScratch& scratch = scratch_.segment;
  attention_input(place_, config_, weights_, x_.view(), taps_[0].view());
  attention_output(place_, config_, weights_, table_, taps_[0].view(), taps_[1].view(), scratch);
  mlp_input(place_, config_, weights_, taps_[1].view(), x_.view(), taps_[2].view(), scratch);
  mlp_hidden(place_, config_, weights_, taps_[2].view(), taps_[3].view(), scratch);
  layer_output(place_, config_, weights_, taps_[3].view(), x_.view(), scratch);
}

// Rows of the attention's output from q, k and v that BLAS computed.
double Layer::attention_error() {
  const auto rotated = [&](Linear linear, std::int64_t t, std::int64_t head, std::int64_t j) {
    const float* u = product(linear).row(t) + head * 128;
    if (linear == Linear::v) return static_cast<double>(u[j]);
    const std::int64_t i = j % 64;
    const double c = static_cast<double>(table_.cos(t, i));
    const double s = static_cast<double>(table_.sin(t, i));
    return j < 64 ? u[i] * c - u[i + 64] * s : u[i + 64] * c + u[i] * s;
  };
  const std::int64_t tokens = input_.rows();
  const std::int64_t head = 13;
  const std::int64_t kv_head = head / 4;
  Matrix<double> parts[3];  // q, k, v of this head
  for (const Linear linear : {Linear::q, Linear::k, Linear::v}) {
    blas_linear(taps_[0], linear);
    Matrix<double>& part = parts[static_cast<int>(linear)] = Matrix<double>(tokens, 128);
    for (std::int64_t t = 0; t < tokens; ++t)
      for (std::int64_t j = 0; j < 128; ++j)
        part(t, j) = rotated(linear, t, linear == Linear::q ? head : kv_head, j);
  }
  double worst = 0;
  for (std::int64_t t = 0; t < tokens; t += 61) {
    std::vector<double> weight(static_cast<std::size_t>(t + 1));
    double sum = 0;
    for (std::int64_t s = 0; s <= t; ++s) {
      double score = 0;
      for (std::int64_t j = 0; j < 128; ++j) score += parts[0](t, j) * parts[1](s, j);
      sum += weight[static_cast<std::size_t>(s)] = std::exp(score / std::sqrt(128.0));
    }
    for (std::int64_t j = 0; j < 128; ++j) {
      double expected = 0;
      for (std::int64_t s = 0; s <= t; ++s)
        expected += weight[static_cast<std::size_t>(s)] / sum * parts[2](s, j);
      const double difference =
          std::fabs(static_cast<double>(taps_[1](t, head * 128 + j)) - expected);
      if (!(difference <= worst)) worst = difference;
    }
  }
  return worst;
}

double Layer::error() {
  run_segments();
  double worst = attention_error();
  const auto compare = [&](double found, double expected) {
    const double difference = std::fabs(found - expected) / std::max(1.0, std::fabs(expected));
    if (!(difference <= worst)) worst = difference;
  };
  Matrix<float> gate(input_.rows(), config_.intermediate_size);
  blas_linear(taps_[2], Linear::gate);
  std::copy_n(product_.data(), product_.size(), gate.data());
  blas_linear(taps_[2], Linear::up);
  for (std::int64_t i = 0; i < gate.size(); ++i) {
    const double g = static_cast<double>(gate.data()[i]);
    compare(taps_[3].data()[i], g / (1 + std::exp(-g)) * static_cast<double>(product_.data()[i]));
  }
  Matrix<float> stream = input_.clone();
  for (const auto& [tap, linear] :
       {std::pair(Tap::attention_output, Linear::o), std::pair(Tap::mlp_hidden, Linear::down)}) {
    blas_linear(taps_[static_cast<int>(tap)], linear);
    for (std::int64_t i = 0; i < stream.size(); ++i) stream.data()[i] += product_.data()[i];
  }
  for (std::int64_t i = 0; i < stream.size(); ++i) compare(x_.data()[i], stream.data()[i]);
  const Matrix<float> by_segments = x_.clone();
  forward_s();
  for (std::int64_t i = 0; i < stream.size(); ++i)
    if (x_.data()[i] != by_segments.data()[i]) return INFINITY;
  return worst;
}

int run(int runs, int threads, std::int64_t tokens) {
  const Place place = cpu_place(threads);
  Layer layer(place, tokens);
  const double error = layer.error();  // also the warm-up
  constexpr double tolerance =
      1e-4;  // products of 14336 terms near 1: 3 · eps · sqrt(14336), twice
  if (!(error <= tolerance)) {
    fmt::print(stderr, "forward_bench: wrong by {:.3g}, allowed {:.3g}; no number\n", error,
               tolerance);
    return 1;
  }
  layer.blas_s(threads);
  std::vector<double> forward, blas, ratio;
  const LayerFlops flops = layer.flops();
  for (int i = 0; i < runs; ++i) {  // side by side: what else the machine does hits both
    blas.push_back(layer.blas_s(threads));
    forward.push_back(layer.forward_s());
    ratio.push_back(flops.forward() / forward.back() / (flops.linears / blas.back()));
  }
  const auto f = bench::spread_of(forward);
  const auto b = bench::spread_of(blas);
  const auto r = bench::spread_of(ratio);
  fmt::print(
      "{{\"bench\": \"forward\", \"shape\": \"llama3-8b layer\", \"tokens\": {}, \"threads\": {}, "
      "\"runs\": {}, "
      "\"forward_s\": {:.4f}, \"forward_s_min\": {:.4f}, \"forward_s_max\": {:.4f}, "
      "\"forward_gflops\": {:.1f}, "
      "\"blas_s\": {:.4f}, \"blas_gflops\": {:.1f}, \"of_blas_rate\": {:.3f}, "
      "\"of_blas_rate_min\": {:.3f}, "
      "\"of_blas_rate_max\": {:.3f}, \"error\": {:.2e}, \"commit\": \"{}\", \"device\": \"{}\", "
      "\"blas\": \"OpenBLAS {}\", "
      "\"compiler\": \"{}\"}}\n",
      tokens, threads, runs, f.median, f.least, f.most, flops.forward() / f.median / 1e9, b.median,
      flops.linears / b.median / 1e9, r.median, r.least, r.most, error, bench::commit(),
      bench::processor(), blas_core_name(), __VERSION__);
  fmt::print(
      "forward of a LLaMA3-8B layer, {} tokens, {} threads: {:.2f} s ({:.2f} to {:.2f}), {:.1f} "
      "GFLOP/s; "
      "BLAS on its linears {:.1f} GFLOP/s; {:.0f} % of that rate ({:.0f} to {:.0f})\n",
      tokens, threads, f.median, f.least, f.most, flops.forward() / f.median / 1e9,
      flops.linears / b.median / 1e9, 100 * r.median, 100 * r.least, 100 * r.most);
  return 0;
}

}  // namespace
}  // namespace bitgrid

int main(int argc, char** argv) {
  const auto argument = [&](int i, int otherwise) {
    return argc > i ? std::atoi(argv[i]) : otherwise;
  };
  return bitgrid::run(argument(1, 5), argument(2, 2), argument(3, 2048));
}
