#include "core/model/cost.hpp"

#include <algorithm>
#include <numeric>

namespace bitgrid {
namespace {
constexpr std::int64_t kFloatBytes = 4;

double real(std::int64_t count) { return static_cast<double>(count); }
}  // namespace

ParameterCounts parameter_counts(const LlamaConfig& config) {
  ParameterCounts counts;
  for (const Linear linear : kLinears)
    counts.layer_linears += linear_rows(config, linear) * linear_cols(config, linear);
  counts.layer = counts.layer_linears + 2 * config.hidden_size;
  counts.embedding = config.vocab_size * config.hidden_size;
  counts.total = config.layer_count * counts.layer + config.hidden_size +
                 (config.tie_word_embeddings ? 1 : 2) * counts.embedding;
  return counts;
}

double LayerFlops::quantization() const {
  const auto sum = [](const auto& taps) { return std::accumulate(taps.begin(), taps.end(), 0.0); };
  return sum(gram) + sum(factorization) + sum(solve);
}

LayerFlops layer_flops(const LlamaConfig& config, const Workload& work) {
  const double tokens = real(work.windows) * real(work.length);
  LayerFlops flops;
  flops.linears = 2 * tokens * real(parameter_counts(config).layer_linears);
  flops.attention = 2 * real(config.query_size()) * tokens * (real(work.length) + 1);
  for (const Tap tap : kTaps) {
    const auto t = static_cast<std::size_t>(tap);
    const double in = real(tap_size(config, tap));
    flops.gram[t] = tokens * in * (in + 1);
    flops.factorization[t] = 2 * in * in * in / 3;
    for (const Linear linear : linears_of(tap))
      flops.solve[t] += real(linear_rows(config, linear)) * in * in;
  }
  return flops;
}

double head_flops(const LlamaConfig& config, const Workload& work) {
  return 2 * real(work.windows) * real(work.length) * real(config.vocab_size) *
         real(config.hidden_size);
}

MemoryBytes memory_bytes(const LlamaConfig& config, std::int64_t window_length) {
  MemoryBytes bytes;
  const ParameterCounts counts = parameter_counts(config);
  bytes.layer = kFloatBytes * counts.layer;
  bytes.head = kFloatBytes * counts.embedding;
  bytes.window_hidden = kFloatBytes * window_length * config.hidden_size;
  for (const Tap tap : kTaps) {
    const auto t = static_cast<std::size_t>(tap);
    const std::int64_t in = tap_size(config, tap);
    bytes.gram[t] = kFloatBytes * in * in;
    bytes.window_tap[t] = kFloatBytes * window_length * in;
  }
  // The buffers of layer_forward: two taps, one of them as wide as the MLP, then q or up, k and v.
  const std::int64_t widest_a = config.hidden_size;
  const std::int64_t widest_b = std::max(config.query_size(), config.intermediate_size);
  bytes.window_scratch =
      kFloatBytes * window_length * (widest_a + 2 * widest_b + 2 * config.kv_size());
  return bytes;
}

}  // namespace bitgrid
