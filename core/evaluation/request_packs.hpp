#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/evaluation/task_metrics.hpp"
#include "core/evaluation/token_requests.hpp"
#include "core/model/token_tree.hpp"

namespace bitgrid {

// One wanted prediction: the token at row `row` of a pack predicts `target` for a request.
struct PackTarget {
  std::int32_t row = 0;
  std::int32_t target = 0;
  std::int32_t request = 0;  // index of TokenRequests::requests
  bool operator==(const PackTarget&) const = default;
};

// Requests that go through the model together: their tokens one after the other, without padding,
// and what several of them begin with only once.
struct RequestPack {
  TokenTree tree;
  std::vector<PackTarget> targets;  // by row, then by request
};

// Tokens of a pack, at most; a longer request is a pack of its own. Enough for matrix products at
// full speed, and for MMLU's examples to be computed once for dozens of questions.
inline constexpr std::int64_t kPackTokens = 2048;
// What is shared is only told apart from what stands alone where that saves so many tokens. Each
// branch of the tree is a small attention call of its own, but a token goes through all weights:
// even two of them cost more.
inline constexpr std::int64_t kLeastSharedTokens = 2;

struct PackRules {
  std::int64_t pack_tokens = kPackTokens;
  std::int64_t least_shared = kLeastSharedTokens;  // huge: nothing is shared
};

// The packs of one task: a function of its requests alone, so that the numbers of a task depend
// neither on other tasks nor on who computes them. Requests that begin alike come together; every
// request is in exactly one pack.
std::vector<RequestPack> pack_requests(const TokenRequests& requests, const PackRules& rules = {});

// Log-likelihoods of a pack's requests. x [tokens of the pack, hidden]: the last layer's output.
// Writes the scores of the requests that are in this pack; only rows that predict something reach
// the output head. Not finite where the hidden state is not.
struct PackScoreScratch {
  Matrix<float> rows, logits;
};
void score_pack(const Place& place, const LlamaConfig& config, const OutputWeights& output,
                const RequestPack& pack, MatrixView<const float> x, std::span<RequestScore> scores,
                PackScoreScratch& scratch);

}  // namespace bitgrid
