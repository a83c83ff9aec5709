#include "kernels/token_loss.hpp"

#include <string>

namespace bitgrid {

void token_loss(const Place& place, MatrixView<const float> logits,
                std::span<const std::int32_t> targets, std::span<TokenLoss> losses) {
  const auto rows = static_cast<std::size_t>(logits.rows);
  if (targets.size() != rows || losses.size() != rows)
    throw Error("token_loss: " + std::to_string(rows) + " rows of logits, " +
                std::to_string(targets.size()) + " targets, " + std::to_string(losses.size()) +
                " losses");
  for (const std::int32_t target : targets)
    if (target < 0 || target >= logits.cols)
      throw Error("token_loss: target " + std::to_string(target) + " is not in a vocabulary of " +
                  std::to_string(logits.cols));
  switch (place.device) {
    case Device::cpu:
      return cpu::token_loss(place, logits, targets, losses);
    case Device::cuda:
      return cuda::token_loss(place.stream, logits, targets, losses);
  }
}

}  // namespace bitgrid
