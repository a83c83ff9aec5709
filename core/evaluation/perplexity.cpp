#include "core/evaluation/perplexity.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/error.hpp"
#include "kernels/linear.hpp"
#include "kernels/rms_norm.hpp"
#include "kernels/scratch.hpp"
#include "kernels/token_loss.hpp"

namespace bitgrid {
namespace {
// Logits of this many tokens exist at a time: 131 MB for Llama 3's vocabulary of 128256.
constexpr std::int64_t kTokenTile = 256;
}  // namespace

double window_cross_entropy(const Place& place, const LlamaConfig& config,
                            const OutputWeights& output, MatrixView<const float> x,
                            std::span<const std::int32_t> ids, CrossEntropyScratch& scratch) {
  if (x.rows != static_cast<std::int64_t>(ids.size()))
    throw Error("cross entropy: " + std::to_string(x.rows) + " hidden states for " +
                std::to_string(ids.size()) + " tokens");
  TokenLoss losses[kTokenTile];
  double sum = 0;
  const std::int64_t predictions = x.rows - 1;  // the last token predicts nothing
  for (std::int64_t first = 0; first < predictions; first += kTokenTile) {
    const std::int64_t count = std::min(kTokenTile, predictions - first);
    const MatrixView<float> normed = scratch_view(scratch.normed, count, config.hidden_size);
    const MatrixView<float> logits = scratch_view(scratch.logits, count, config.vocab_size);
    rms_norm(place, x.rows_from(first, count), output.norm.view(),
             static_cast<float>(config.rms_norm_eps), normed);
    linear(place, normed, output.head.view(), logits);
    const std::span tile(losses, static_cast<std::size_t>(count));
    token_loss(place, logits, ids.subspan(static_cast<std::size_t>(first + 1), tile.size()), tile);
    for (const TokenLoss& token : tile) sum += token.loss;
  }
  return sum;
}

Perplexity perplexity_of(std::span<const double> sums, std::int64_t length) {
  if (sums.empty() || length < 2)
    throw Error("perplexity: " + std::to_string(sums.size()) + " windows of " +
                std::to_string(length) + " tokens; expected at least one of two");
  Perplexity result;
  result.windows = static_cast<std::int64_t>(sums.size());
  result.tokens = result.windows * (length - 1);
  const auto windows = static_cast<double>(result.windows);
  const auto predictions = static_cast<double>(length - 1);
  for (const double sum : sums) result.cross_entropy += sum / predictions;
  result.cross_entropy /= windows;
  double squares = 0;
  for (const double sum : sums) {
    const double deviation = sum / predictions - result.cross_entropy;
    squares += deviation * deviation;
  }
  result.cross_entropy_error = result.windows == 1 ? std::numeric_limits<double>::quiet_NaN()
                                                   : std::sqrt(squares / (windows - 1) / windows);
  result.perplexity = std::exp(result.cross_entropy);
  result.perplexity_error = result.perplexity * result.cross_entropy_error;
  return result;
}

}  // namespace bitgrid
