#pragma once

#include <cstdint>
#include <span>

#include "kernels/matrix.hpp"
#include "kernels/place.hpp"

namespace bitgrid {

struct TokenLoss {
  double loss = 0;      // −log softmax(row)[target], nats
  bool greedy = false;  // the target is the row's largest logit, and the first of equal ones
};

// losses[t] for logits row t and targets[t]: log Σ exp(x − max) + max − x[target], exponentials in
// fp32, their sum in fp64. Not finite if the row holds a NaN or +inf.
//   logits [tokens, vocabulary] fp32    targets in [0, vocabulary)
void token_loss(const Place& place, MatrixView<const float> logits,
                std::span<const std::int32_t> targets, std::span<TokenLoss> losses);

namespace cpu {
void token_loss(const Place& place, MatrixView<const float> logits,
                std::span<const std::int32_t> targets, std::span<TokenLoss> losses);
}
namespace cuda {
void token_loss(void* stream, MatrixView<const float> logits, std::span<const std::int32_t> targets,
                std::span<TokenLoss> losses);
}

}  // namespace bitgrid
