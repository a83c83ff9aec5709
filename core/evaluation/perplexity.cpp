#include "core/evaluation/perplexity.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/error.hpp"
#include "kernels/linear.hpp"
#include "kernels/rms_norm.hpp"
#include "kernels/scratch.hpp"
#include "kernels/softmax_divergence.hpp"
#include "kernels/token_loss.hpp"

namespace bitgrid {
namespace {
// Logits of this many tokens exist at a time: 131 MB for Llama 3's vocabulary of 128256.
constexpr std::int64_t kTokenTile = 256;

// Logits of some tokens: of the last layer's output, normed.
void head_logits(const Place& place, const LlamaConfig& config, const OutputWeights& output,
                 MatrixView<const float> x, CrossEntropyScratch& scratch,
                 MatrixView<float> logits) {
  const MatrixView<float> normed = scratch_view(scratch.normed, x.rows, config.hidden_size);
  rms_norm(place, x, output.norm.view(), static_cast<float>(config.rms_norm_eps), normed);
  linear(place, normed, output.head.view(), logits);
}

void compare_logits(const Place& place, MatrixView<const float> p, MatrixView<const float> q,
                    WindowScore& score) {
  const auto rows = static_cast<std::size_t>(p.rows);
  std::vector<double> p_sums(rows), divergences(rows);
  std::vector<std::int32_t> of_p(rows), of_q(rows);
  log_sum_exp(place, p, p_sums);
  softmax_divergence(place, Divergence::fixed_from_changed, q, {}, p, p_sums, divergences);
  largest_columns(place, p, of_p);
  largest_columns(place, q, of_q);
  score.divergence = std::accumulate(divergences.begin(), divergences.end(), score.divergence);
  for (std::size_t t = 0; t < rows; ++t) score.agreements += of_p[t] == of_q[t];
}

// reference: empty where nothing is compared.
WindowScore score_window(const Place& place, const LlamaConfig& config, const OutputWeights& output,
                         MatrixView<const float> x, MatrixView<const float> reference,
                         std::span<const std::int32_t> ids, CrossEntropyScratch& scratch) {
  if (x.rows != static_cast<std::int64_t>(ids.size()) ||
      (reference.rows != 0 && reference.rows != x.rows))
    throw Error("cross entropy: " + std::to_string(x.rows) + " hidden states for " +
                std::to_string(ids.size()) + " tokens");
  TokenLoss losses[kTokenTile];
  WindowScore score;
  const std::int64_t predictions = x.rows - 1;  // the last token predicts nothing
  for (std::int64_t first = 0; first < predictions; first += kTokenTile) {
    const std::int64_t count = std::min(kTokenTile, predictions - first);
    const MatrixView<float> logits = scratch_view(scratch.logits, count, config.vocab_size);
    head_logits(place, config, output, x.rows_from(first, count), scratch, logits);
    const std::span tile(losses, static_cast<std::size_t>(count));
    token_loss(place, logits, ids.subspan(static_cast<std::size_t>(first + 1), tile.size()), tile);
    for (const TokenLoss& token : tile) score.cross_entropy += token.loss;
    if (reference.rows == 0) continue;
    const MatrixView<float> fixed = scratch_view(scratch.reference, count, config.vocab_size);
    head_logits(place, config, output, reference.rows_from(first, count), scratch, fixed);
    compare_logits(place, fixed, logits, score);
  }
  return score;
}

// Mean of one number per window, and its standard error.
struct MeanOfWindows {
  double mean = 0, error = 0;
};
MeanOfWindows mean_of_windows(std::span<const double> values) {
  MeanOfWindows result;
  const auto windows = static_cast<double>(values.size());
  for (const double value : values) result.mean += value;
  result.mean /= windows;
  double squares = 0;
  for (const double value : values) squares += (value - result.mean) * (value - result.mean);
  result.error = values.size() == 1 ? std::numeric_limits<double>::quiet_NaN()
                                    : std::sqrt(squares / (windows - 1) / windows);
  return result;
}

void check_windows(std::size_t windows, std::int64_t length) {
  if (windows == 0 || length < 2)
    throw Error("perplexity: " + std::to_string(windows) + " windows of " + std::to_string(length) +
                " tokens; expected at least one of two");
}

}  // namespace

double window_cross_entropy(const Place& place, const LlamaConfig& config,
                            const OutputWeights& output, MatrixView<const float> x,
                            std::span<const std::int32_t> ids, CrossEntropyScratch& scratch) {
  return score_window(place, config, output, x, {}, ids, scratch).cross_entropy;
}

WindowScore compared_window(const Place& place, const LlamaConfig& config,
                            const OutputWeights& output, MatrixView<const float> x,
                            MatrixView<const float> reference, std::span<const std::int32_t> ids,
                            CrossEntropyScratch& scratch) {
  if (reference.rows != x.rows)
    throw Error("comparison: " + std::to_string(reference.rows) + " hidden states against " +
                std::to_string(x.rows));
  return score_window(place, config, output, x, reference, ids, scratch);
}

Perplexity perplexity_of(std::span<const double> sums, std::int64_t length) {
  check_windows(sums.size(), length);
  Perplexity result;
  result.windows = static_cast<std::int64_t>(sums.size());
  result.tokens = result.windows * (length - 1);
  std::vector<double> means;
  for (const double sum : sums) means.push_back(sum / static_cast<double>(length - 1));
  const MeanOfWindows all = mean_of_windows(means);
  result.cross_entropy = all.mean;
  result.cross_entropy_error = all.error;
  result.perplexity = std::exp(result.cross_entropy);
  result.perplexity_error = result.perplexity * result.cross_entropy_error;
  return result;
}

Comparison comparison_of(std::span<const double> sums, std::span<const std::int64_t> agreements,
                         std::int64_t length) {
  check_windows(sums.size(), length);
  BITGRID_ASSERT(sums.size() == agreements.size());
  const auto predictions = static_cast<double>(length - 1);
  std::vector<double> divergence, agreement;
  for (const double sum : sums) divergence.push_back(sum / predictions);
  for (const std::int64_t count : agreements)
    agreement.push_back(static_cast<double>(count) / predictions);
  const MeanOfWindows d = mean_of_windows(divergence), a = mean_of_windows(agreement);
  return {d.mean, d.error, a.mean, a.error};
}

}  // namespace bitgrid
