#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/model/weights.hpp"
#include "kernels/matrix.hpp"
#include "kernels/place.hpp"

namespace bitgrid {

// −log p of tokens 1 … n−1 of one window given the ones before, in fp64 sums over fp32 log-softmax;
// nothing is kept of the logits. x [tokens, hidden] is the output of the last layer. Returns Σ over
// the n − 1 predicted tokens (nats). Not finite when the hidden state is not.
struct CrossEntropyScratch {
  Matrix<float> normed, logits, reference;
};
double window_cross_entropy(const Place&, const LlamaConfig&, const OutputWeights&,
                            MatrixView<const float> x, std::span<const std::int32_t> ids,
                            CrossEntropyScratch&);

// The same predictions of two models with one output head, p from hidden states `reference` and q
// from x, both [tokens, hidden].
struct WindowScore {
  double cross_entropy = 0;     // Σ −log q, as window_cross_entropy
  double divergence = 0;        // Σ KL(p ‖ q), nats; >= 0
  std::int64_t agreements = 0;  // predictions whose likeliest token is the same
};
WindowScore compared_window(const Place&, const LlamaConfig&, const OutputWeights&,
                            MatrixView<const float> x, MatrixView<const float> reference,
                            std::span<const std::int32_t> ids, CrossEntropyScratch&);

// GPTQ's protocol over fixed windows: perplexity = exp(mean_w ce_w), ce_w the mean over the length
// − 1 predictions of w.
struct Perplexity {
  double perplexity = 0;
  double cross_entropy = 0;        // mean over windows, nats per token
  double cross_entropy_error = 0;  // standard error of that mean over windows; NaN for one window
  double perplexity_error = 0;     // perplexity · cross_entropy_error (delta method)
  std::int64_t windows = 0;
  std::int64_t tokens = 0;  // predicted tokens: windows · (length − 1)
};
// sums: Σ −log p per window, in window order; summed here in that order.
Perplexity perplexity_of(std::span<const double> sums, std::int64_t length);

// Means over windows of what each predicted token says, like the cross entropy's.
struct Comparison {
  double divergence = 0;        // KL(p ‖ q), nats per token
  double divergence_error = 0;  // standard error over windows; NaN for one window
  double agreement = 0;         // share of the predictions whose likeliest token is the same
  double agreement_error = 0;
};
// sums and agreements: of each window, in window order.
Comparison comparison_of(std::span<const double> sums, std::span<const std::int64_t> agreements,
                         std::int64_t length);

}  // namespace bitgrid
