#include "dist/tree_reduce.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <deque>
#include <optional>

#include "dist/tags.hpp"
#include "dist/transfer.hpp"
#include "kernels/error.hpp"

namespace bitgrid::dist {
namespace {

using Kind = TreeStep::Kind;
const char* const kWhat = "a partial sum of a statistic";

bool receives(const TreeStep& step) {
  return step.kind == Kind::receive_left || step.kind == Kind::receive_right ||
         step.kind == Kind::receive_result;
}

struct Lengths {
  std::int64_t values = 0;                // of every filled partial sum, and of the result
  std::vector<std::vector<bool>> filled;  // [rank][slot]
};

// Collective: every rank learns which partial sums there are.
Lengths gather_lengths(const Comm& replicas, std::int64_t shards,
                       const std::vector<PartialSum>& partials, std::int64_t result_length,
                       int owner) {
  std::vector<std::int64_t> counts;  // bytes per rank: one number per partial sum, one for result
  std::vector<std::int64_t> firsts;
  std::int64_t total = 0;
  for (int r = 0; r < replicas.size(); ++r) {
    const auto nodes = shard_subtrees(replica_shards(shards, replicas.size(), r), shards);
    if (r == replicas.rank()) {
      BITGRID_ASSERT(std::ranges::equal(nodes, partials, {}, {}, &PartialSum::node));
    }
    firsts.push_back(total);
    total += std::ssize(nodes) + 1;
    counts.push_back((std::ssize(nodes) + 1) * std::int64_t{sizeof(std::int64_t)});
  }
  std::vector<std::int64_t> lengths(total, 0);
  std::int64_t* own = lengths.data() + firsts[replicas.rank()];
  for (const PartialSum& partial : partials) *own++ = std::ssize(partial.values);
  *own = result_length;
  replicas.all_gather_in_place(std::as_writable_bytes(std::span(lengths)), counts,
                               "the other replicas with their statistics");

  Lengths result;
  firsts.push_back(total);
  result.values = lengths[firsts[owner + 1] - 1];
  for (int r = 0; r < replicas.size(); ++r) {
    std::vector<bool>& filled = result.filled.emplace_back();
    for (std::int64_t i = firsts[r]; i < firsts[r + 1] - 1; ++i) {
      filled.push_back(lengths[i] > 0);
      if (lengths[i] > 0 && lengths[i] != result.values) {
        throw Error(fmt::format("a partial sum of replica {} has {} values, the result has {}", r,
                                lengths[i], result.values));
      }
    }
  }
  return result;
}

void add(std::span<double> to, std::span<const double> from) {
  double* __restrict a = to.data();
  const double* __restrict b = from.data();
  for (std::size_t i = 0; i < to.size(); ++i) a[i] += b[i];
}

// Receives of one rank, in the order of its steps; the next one is on its way while one is added.
class Incoming {
 public:
  struct Message {
    std::int64_t count;
    int peer;
  };
  Incoming(const Comm& comm, std::vector<Message> messages, std::int64_t count_max)
      : comm_(comm), messages_(std::move(messages)) {
    if (messages_.empty()) return;
    for (std::vector<double>& buffer : buffers_) buffer.resize(count_max);
    start(0);
  }

  // The next message; valid until the call after the next one.
  std::span<const double> next() {
    const std::size_t i = taken_++;
    transfers_[i % 2]->wait(kWhat, i > 0);
    transfers_[i % 2].reset();
    start(i + 1);
    return {buffers_[i % 2].data(), static_cast<std::size_t>(messages_[i].count)};
  }

 private:
  void start(std::size_t i) {
    if (i >= messages_.size()) return;
    const std::span<double> buffer(buffers_[i % 2].data(), messages_[i].count);
    transfers_[i % 2].emplace(
        Transfer::receive(comm_, std::as_writable_bytes(buffer), messages_[i].peer, kTreeTag));
  }

  const Comm& comm_;
  std::vector<Message> messages_;
  std::vector<double> buffers_[2];
  std::optional<Transfer> transfers_[2];
  std::size_t taken_ = 0;
};

}  // namespace

void tree_reduce_sum(const Comm& replicas, std::int64_t shards, std::vector<PartialSum> partials,
                     std::span<double> result, int owner) {
  BITGRID_ASSERT(owner >= 0 && owner < replicas.size());
  const Lengths lengths = gather_lengths(replicas, shards, partials, std::ssize(result), owner);
  const std::vector<TreeStep> steps = tree_steps(shards, lengths.filled, replicas.rank(), owner);

  // Piece by piece through the whole tree: while a piece is added one level up, the next one is
  // added here. An eighth of a message's largest piece fills the tree quickly and stays in the
  // cache.
  const std::int64_t piece =
      std::max<std::int64_t>(1, piece_bytes() / 8 / std::int64_t{sizeof(double)});
  const auto pieces = [&](auto&& each) {
    for (std::int64_t at = 0; at < lengths.values; at += piece) {
      each(at, std::min(piece, lengths.values - at));
    }
  };
  std::vector<Incoming::Message> messages;
  pieces([&](std::int64_t, std::int64_t count) {
    for (const TreeStep& step : steps) {
      if (receives(step)) messages.push_back({count, step.peer});
    }
  });
  Incoming incoming(replicas, std::move(messages), std::min(piece, lengths.values));
  std::deque<Transfer> outgoing;

  pieces([&](std::int64_t at, std::int64_t count) {
    const auto slice = [&](int slot) { return partials[slot].values.subspan(at, count); };
    for (const TreeStep& step : steps) {
      switch (step.kind) {
        case Kind::add:
          add(slice(step.slot), slice(step.other_slot));
          break;
        case Kind::send:  // from where it lies: this rank is done with it
          outgoing.push_back(
              Transfer::send(replicas, std::as_bytes(slice(step.slot)), step.peer, kTreeTag));
          break;
        case Kind::receive_left:  // addition commutes, bit for bit; only the tree's shape matters
        case Kind::receive_right:
          add(slice(step.slot), incoming.next());
          break;
        case Kind::keep_result:
          if (result.data() != partials[step.slot].values.data()) {
            std::ranges::copy(slice(step.slot), result.begin() + at);
          }
          break;
        case Kind::receive_result:
          std::ranges::copy(incoming.next(), result.begin() + at);
          break;
        case Kind::zero_result:
          std::fill_n(result.begin() + at, count, 0.0);
          break;
      }
    }
  });
  for (Transfer& transfer : outgoing) transfer.wait(kWhat, true);
}

}  // namespace bitgrid::dist
