#include "core/evaluation/request_packs.hpp"

#include <algorithm>
#include <numeric>

#include "kernels/error.hpp"
#include "kernels/linear.hpp"
#include "kernels/rms_norm.hpp"
#include "kernels/scratch.hpp"
#include "kernels/token_loss.hpp"

namespace bitgrid {
namespace {

constexpr std::int64_t kScoredRows = 256;  // logits of so many rows exist at a time

// What a request feeds: its context, then its continuation without the last token.
class FedTokens {
 public:
  FedTokens(const TokenRequests& requests, std::int32_t request)
      : context_(requests.fed_context(requests.requests[static_cast<std::size_t>(request)])),
        rest_(requests.continuation(requests.requests[static_cast<std::size_t>(request)])) {
    rest_ = rest_.first(rest_.size() - 1);
  }
  std::int64_t size() const { return std::ssize(context_) + std::ssize(rest_); }
  std::int64_t context_size() const { return std::ssize(context_); }
  std::int32_t operator[](std::int64_t i) const {
    const std::int64_t rest = i - std::ssize(context_);
    return rest < 0 ? context_[static_cast<std::size_t>(i)] : rest_[static_cast<std::size_t>(rest)];
  }
  std::int64_t common_with(const FedTokens& other) const {
    const std::int64_t most = std::min(size(), other.size());
    std::int64_t common = 0;
    if (context_.data() == other.context_.data())
      common = std::min(std::ssize(context_), std::ssize(other.context_));
    while (common < most && (*this)[common] == other[common]) ++common;
    return common;
  }

 private:
  std::span<const std::int32_t> context_, rest_;
};

// Requests by what they feed, so that neighbours have most in common.
std::vector<std::int32_t> in_order_of_tokens(const TokenRequests& requests) {
  std::vector<std::int32_t> order(requests.requests.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
    const FedTokens left(requests, a), right(requests, b);
    const std::int64_t common = left.common_with(right);
    if (common == left.size() || common == right.size()) return left.size() < right.size();
    return left[common] < right[common];
  });
  return order;
}

// Grows the tree of one pack by sequences in ascending order.
class PackBuilder {
 public:
  PackBuilder(const TokenRequests& requests, const PackRules& rules)
      : requests_(requests), rules_(rules) {}

  void add(std::int32_t request) {
    const FedTokens tokens(requests_, request);
    std::int64_t shared =
        last_ < 0 ? 0 : worth_sharing(tokens.common_with(FedTokens(requests_, last_)));
    const std::int64_t full = pack_.tree.tokens() + tokens.size() - shared;
    if (last_ >= 0 && full > rules_.pack_tokens) {
      finish();
      shared = 0;
    }
    branch_off(shared);
    if (tokens.size() > shared) append(tokens, shared);
    add_targets(request, tokens);
    last_ = request;
  }

  std::vector<RequestPack> take() {
    if (last_ >= 0) finish();
    return std::move(packs_);
  }

 private:
  TokenBranch& branch(std::int32_t index) {
    return pack_.tree.branches[static_cast<std::size_t>(index)];
  }
  std::int64_t end_of(std::int32_t index) { return branch(index).position + branch(index).tokens; }

  // How many of the first `common` tokens, which the last sequence has as well, are taken from it:
  // all of them where a branch ends there or is worth being cut in two there, else those above it.
  std::int64_t worth_sharing(std::int64_t common) {
    for (const std::int32_t index : path_) {
      if (common >= end_of(index)) continue;
      const std::int64_t start = branch(index).position;
      return common - start >= rules_.least_shared ? common : start;
    }
    return common;
  }

  // The path ends at position `shared` afterwards.
  void branch_off(std::int64_t shared) {
    while (!path_.empty() && branch(path_.back()).position >= shared) path_.pop_back();
    if (path_.empty() || end_of(path_.back()) == shared) return;
    const std::int32_t upper = path_.back();
    auto& branches = pack_.tree.branches;
    const auto kept = static_cast<std::int32_t>(shared) - branch(upper).position;
    TokenBranch lower = branch(upper);
    lower.parent = upper;
    lower.first += kept;
    lower.position += kept;
    lower.tokens -= kept;
    branch(upper).tokens = kept;
    branches.insert(branches.begin() + upper + 1, lower);
    for (auto later = branches.begin() + upper + 2; later != branches.end(); ++later)
      if (later->parent >= upper) ++later->parent;
  }

  void append(const FedTokens& tokens, std::int64_t shared) {
    TokenTree& tree = pack_.tree;
    TokenBranch fresh;
    fresh.parent = path_.empty() ? -1 : path_.back();
    fresh.first = static_cast<std::int32_t>(tree.tokens());
    fresh.tokens = static_cast<std::int32_t>(tokens.size() - shared);
    fresh.position = static_cast<std::int32_t>(shared);
    for (std::int64_t i = shared; i < tokens.size(); ++i) tree.ids.push_back(tokens[i]);
    path_.push_back(static_cast<std::int32_t>(tree.branches.size()));
    tree.branches.push_back(fresh);
  }

  std::int32_t row_of(std::int64_t position) {
    for (const std::int32_t index : path_)
      if (position < end_of(index))
        return branch(index).first + static_cast<std::int32_t>(position) - branch(index).position;
    throw Error("request packs: a position behind the sequence");
  }

  void add_targets(std::int32_t request, const FedTokens& tokens) {
    const auto continuation =
        requests_.continuation(requests_.requests[static_cast<std::size_t>(request)]);
    const std::int64_t first = tokens.context_size() - 1;  // its last token predicts the first one
    for (std::size_t i = 0; i < continuation.size(); ++i)
      pack_.targets.push_back(
          {row_of(first + static_cast<std::int64_t>(i)), continuation[i], request});
  }

  void finish() {
    std::stable_sort(pack_.targets.begin(), pack_.targets.end(),
                     [](const PackTarget& a, const PackTarget& b) {
                       return a.row != b.row ? a.row < b.row : a.request < b.request;
                     });
    packs_.push_back(std::move(pack_));
    pack_ = {};
    path_.clear();
  }

  const TokenRequests& requests_;
  const PackRules& rules_;
  RequestPack pack_;
  std::vector<std::int32_t> path_;  // branches of the last sequence, from the root
  std::int32_t last_ = -1;
  std::vector<RequestPack> packs_;
};

}  // namespace

std::vector<RequestPack> pack_requests(const TokenRequests& requests, const PackRules& rules) {
  PackBuilder builder(requests, rules);
  for (const std::int32_t request : in_order_of_tokens(requests)) builder.add(request);
  return builder.take();
}

void score_pack(const Place& place, const LlamaConfig& config, const OutputWeights& output,
                const RequestPack& pack, MatrixView<const float> x, std::span<RequestScore> scores,
                PackScoreScratch& scratch) {
  const auto score = [&](const PackTarget& target) -> RequestScore& {
    return scores[static_cast<std::size_t>(target.request)];
  };
  for (const PackTarget& target : pack.targets) score(target) = {0, true};
  for (std::size_t next = 0; next < pack.targets.size();) {
    // The next rows that predict something, each once; a row may have several targets.
    std::vector<std::int32_t> rows;
    std::size_t end = next;
    for (; end < pack.targets.size(); ++end) {
      const std::int32_t row = pack.targets[end].row;
      if (!rows.empty() && rows.back() == row) continue;
      if (std::ssize(rows) == kScoredRows) break;
      rows.push_back(row);
    }
    const MatrixView<float> normed =
        scratch_view(scratch.rows, std::ssize(rows), config.hidden_size);
    const MatrixView<float> logits =
        scratch_view(scratch.logits, std::ssize(rows), config.vocab_size);
    for (std::int64_t i = 0; i < normed.rows; ++i)
      std::copy_n(x.row(rows[static_cast<std::size_t>(i)]), x.cols, normed.row(i));
    rms_norm(place, normed, output.norm.view(), static_cast<float>(config.rms_norm_eps), normed);
    linear(place, normed, output.head.view(), logits);
    for (std::int64_t i = 0; next < end; ++next) {
      const PackTarget& target = pack.targets[next];
      while (rows[static_cast<std::size_t>(i)] != target.row) ++i;
      TokenLoss loss;
      token_loss(place, logits.rows_from(i, 1), {&target.target, 1}, {&loss, 1});
      score(target).log_likelihood -= loss.loss;
      score(target).greedy &= loss.greedy;
    }
  }
}

}  // namespace bitgrid
