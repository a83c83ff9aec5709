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
  Matrix<float> normed, logits;
};
double window_cross_entropy(const Place&, const LlamaConfig&, const OutputWeights&,
                            MatrixView<const float> x, std::span<const std::int32_t> ids,
                            CrossEntropyScratch&);

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

}  // namespace bitgrid
