#include <algorithm>
#include <chrono>
#include <cstring>
#include <functional>
#include <vector>

#include "kernels/error.hpp"
#include "kernels/gram.hpp"
#include "kernels/inverse_factor.hpp"
#include "kernels/linear.hpp"
#include "kernels/parallel.hpp"
#include "sweeps/plan.hpp"

namespace bitgrid {
namespace {

constexpr std::int64_t kTokens = 256;
constexpr std::int64_t kSize = 768;
constexpr double kSecondsEach = 0.04;
constexpr int kRunsMax = 20;

// Seconds of the fastest of a few runs, the first of which warms caches and is not counted.
double fastest(const std::function<void()>& run) {
  using Clock = std::chrono::steady_clock;
  run();
  double best = 1e30, spent = 0;
  for (int i = 0; i < kRunsMax && (i == 0 || spent < kSecondsEach); ++i) {
    const auto start = Clock::now();
    run();
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    best = std::min(best, seconds);
    spent += seconds;
  }
  return std::max(best, 1e-9);
}

// Values that are no trouble to any operation: small, different, none of them denormal.
Matrix<float> filled(std::int64_t rows, std::int64_t cols) {
  Matrix<float> m(rows, cols);
  for (std::int64_t i = 0; i < m.size(); ++i) m.data()[i] = static_cast<float>(i % 17 - 8) / 16;
  return m;
}

}  // namespace

MachineRates measure_machine(const Place& place) {
  const Place alone{place.device, nullptr, place.stream};
  const int threads = place_threads(place);
  MachineRates rates;
  rates.threads = threads;
  const Matrix<float> x = filled(kTokens, kSize);
  const Matrix<float> w = filled(kSize, kSize);
  const double products = 2.0 * kTokens * kSize * kSize * threads / 1e9;

  // Windows and shards are what threads take, so each thread has a product of its own.
  std::vector<Matrix<float>> y;
  for (int t = 0; t < threads; ++t) y.push_back(filled(kSize, kSize));
  rates.linear_gflops =
      products / fastest([&] {
        parallel_for(place, threads, [&](std::int64_t t) {
          linear(alone, x.view(), w.view(), y[static_cast<std::size_t>(t)].rows_from(0, kTokens));
        });
      });
  std::vector<Matrix<double>> s;
  for (int t = 0; t < threads; ++t) {
    s.emplace_back(kSize, kSize).fill(0);
    for (std::int64_t i = 0; i < kSize; ++i) s.back()(i, i) = 1;
  }
  rates.gram_gflops = products / 2 / fastest([&] {
                        parallel_for(place, threads, [&](std::int64_t t) {
                          accumulate_gram(alone, x.view(), s[static_cast<std::size_t>(t)].view());
                        });
                      });

  // A factorization is one matrix for all threads: 2/3 n³.
  const std::vector<double> diagonal(static_cast<std::size_t>(kSize), 1e6 * kSize);
  const double factor = 2.0 / 3 * kSize * kSize * kSize / 1e9;
  rates.factor_gflops =
      factor / fastest([&] {
        const ScaledGram h{s.front().view(), 1, diagonal, {}};
        BITGRID_ASSERT(inverse_factor(place, h, y[0].view()) < 0);  // diagonally dominant
      });

  constexpr std::int64_t kCopyBytes = 8 << 20;  // beyond most caches, together with its copy
  std::vector<Matrix<std::byte>> from, to;
  for (int t = 0; t < std::min(threads, 16); ++t) {
    from.emplace_back(1, kCopyBytes).fill(std::byte{1});
    to.emplace_back(1, kCopyBytes).fill(std::byte{2});
  }
  const auto copies = static_cast<std::int64_t>(from.size());
  rates.memory_gbytes =
      2.0 * static_cast<double>(kCopyBytes * copies) / 1e9 / fastest([&] {
        parallel_for(place, copies, [&](std::int64_t t) {
          const auto i = static_cast<std::size_t>(t);
          std::memcpy(to[i].data(), from[i].data(), static_cast<std::size_t>(kCopyBytes));
        });
      });
  return rates;
}

}  // namespace bitgrid
