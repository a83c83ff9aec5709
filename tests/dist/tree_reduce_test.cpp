#include "dist/tree_reduce.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <random>
#include <vector>

#include "tests/dist/pieces.hpp"

namespace bitgrid::dist {
namespace {

using Vector = std::vector<double>;
using Shards = std::vector<std::optional<Vector>>;  // nothing: a shard without windows

constexpr std::chrono::seconds kDeadline{30};
const std::int64_t kShardCounts[] = {1, 2, 3, 5, 16, 17};

// The fixed tree as a recursion over [first, first + width), width a power of two: an oracle that
// shares nothing with the code under test.
std::optional<Vector> oracle_sum(const Shards& shards, std::size_t first, std::size_t width) {
  if (first >= shards.size()) return std::nullopt;
  if (width == 1) return shards[first];
  const auto left = oracle_sum(shards, first, width / 2);
  const auto right = oracle_sum(shards, first + width / 2, width / 2);
  if (!left) return right;
  if (!right) return left;
  Vector sum(left->size());
  for (std::size_t i = 0; i < sum.size(); ++i) {
    volatile const double both = (*left)[i] + (*right)[i];
    sum[i] = both;
  }
  return sum;
}

Vector oracle_sum(const Shards& shards, std::size_t length) {
  return oracle_sum(shards, 0, std::bit_ceil(shards.size())).value_or(Vector(length, 0.0));
}

// Magnitudes from 2^-20 to 2^20 and both signs: any other order of additions shows in the last
// bits.
Shards random_shards(std::int64_t count, std::int64_t length, unsigned seed, bool with_empty) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<double> mantissa(-1.0, 1.0);
  std::uniform_int_distribution<int> exponent(-20, 20);
  Shards shards(count);
  for (auto& shard : shards) {
    Vector values(length);
    for (double& value : values) value = std::ldexp(mantissa(random), exponent(random));
    const bool is_empty = with_empty && random() % 3 == 0;
    if (!is_empty) shard = std::move(values);
  }
  return shards;
}

// What a replica brings: its complete subtrees, summed by the oracle.
struct Replica {
  std::vector<ShardNode> nodes;
  std::vector<Vector> sums;  // empty: no windows
};

Replica replica_of(const Shards& shards, int replicas, int replica) {
  const std::int64_t count = std::ssize(shards);
  Replica result{shard_subtrees(replica_shards(count, replicas, replica), count), {}};
  for (const ShardNode node : result.nodes) {
    const std::size_t width = std::size_t{1} << node.level;
    result.sums.push_back(oracle_sum(shards, node.index * width, width).value_or(Vector{}));
  }
  return result;
}

std::vector<std::uint64_t> bits(const Vector& values) {
  std::vector<std::uint64_t> result;
  for (const double value : values) result.push_back(std::bit_cast<std::uint64_t>(value));
  return result;
}

// Collective over the first `replicas` ranks of `comm`.
void check_sum(const Comm& comm, const Shards& shards, std::int64_t length, int owner) {
  Replica own = replica_of(shards, comm.size(), comm.rank());
  std::vector<PartialSum> partials;
  for (std::size_t i = 0; i < own.nodes.size(); ++i)
    partials.push_back({own.nodes[i], own.sums[i]});
  Vector result(comm.rank() == owner ? length : 0, -1.0);
  tree_reduce_sum(comm, std::ssize(shards), partials, result, owner);
  if (comm.rank() == owner) {
    EXPECT_EQ(bits(result), bits(oracle_sum(shards, length)))
        << shards.size() << " shards, " << comm.size() << " replicas, owner " << owner;
  }
}

TEST(TreeReduce, BytesAreThoseOfTheTreeForEveryReplicaCount) {
  const SmallPieces small(8 * 8 * 100);  // 100 doubles
  const Comm world = Comm::world(kDeadline);
  for (int replicas = 1; replicas <= world.size(); ++replicas) {
    Comm comm = world.split(world.rank() < replicas, world.rank());
    if (world.rank() < replicas) {
      for (const std::int64_t count : kShardCounts) {
        for (const std::int64_t length : {1, 100, 257}) {
          for (const bool with_empty : {false, true}) {
            for (int owner = 0; owner < replicas; ++owner) {
              const unsigned seed = static_cast<unsigned>(count * 1000 + length);
              check_sum(comm, random_shards(count, length, seed, with_empty), length, owner);
            }
          }
        }
      }
    }
    comm.close();
  }
}

TEST(TreeReduce, WholeNumbersAreExact) {
  const Comm world = Comm::world(kDeadline);
  const std::int64_t length = 1000;
  Shards shards(17);
  for (std::size_t s = 0; s < shards.size(); ++s) {
    shards[s] = Vector(length, static_cast<double>(1u << s));
  }
  Replica own = replica_of(shards, world.size(), world.rank());
  std::vector<PartialSum> partials;
  for (std::size_t i = 0; i < own.nodes.size(); ++i)
    partials.push_back({own.nodes[i], own.sums[i]});
  Vector result(length, 0.0);
  tree_reduce_sum(world, 17, partials, result, 0);
  if (world.rank() == 0) {
    EXPECT_EQ(result, Vector(length, static_cast<double>((1u << 17) - 1)));
  }
  world.barrier("test");
}

TEST(TreeReduce, NoWindowsAtAllGiveZeros) {
  const Comm world = Comm::world(kDeadline);
  for (int owner = 0; owner < world.size(); ++owner) check_sum(world, Shards(5), 129, owner);
}

TEST(TreeReduce, TheResultMayLieInAPartialSum) {
  const Comm world = Comm::world(kDeadline);
  const Shards shards = random_shards(1, 129, 4, false);
  const int owner = world.size() - 1;  // the last replica has the only shard
  Replica own = replica_of(shards, world.size(), world.rank());
  std::vector<PartialSum> partials;
  for (std::size_t i = 0; i < own.nodes.size(); ++i)
    partials.push_back({own.nodes[i], own.sums[i]});
  Vector none;
  Vector& result = own.sums.empty() ? none : own.sums.front();
  tree_reduce_sum(world, 1, partials, result, owner);
  if (world.rank() == owner) {
    EXPECT_EQ(bits(result), bits(*shards[0]));
  }
  world.barrier("test");
}

TEST(TreeReduce, LengthsThatDoNotFitFailOnEveryRank) {
  const Comm world = Comm::world(kDeadline);
  const Shards shards = random_shards(16, 8, 5, false);
  Replica own = replica_of(shards, world.size(), world.rank());
  std::vector<PartialSum> partials;
  for (std::size_t i = 0; i < own.nodes.size(); ++i)
    partials.push_back({own.nodes[i], own.sums[i]});
  if (world.rank() == world.size() - 1) partials.back().values = partials.back().values.first(7);
  Vector result(8);
  EXPECT_THROW(tree_reduce_sum(world, 16, partials, result, 0), Error);
  EXPECT_EQ(world.all_sum(1, "test"), world.size());  // all are still together
}

// Plays the steps of all ranks in one process, so that there can be more replicas than cores. A
// rank that waits for a message that was sent out of order, or never, stops the play.
Vector play(const Shards& shards, std::int64_t length, int replicas, int owner) {
  using Kind = TreeStep::Kind;
  std::vector<Replica> ranks;
  std::vector<std::vector<bool>> filled;
  for (int r = 0; r < replicas; ++r) {
    ranks.push_back(replica_of(shards, replicas, r));
    std::vector<bool>& own = filled.emplace_back();
    for (const Vector& sum : ranks.back().sums) own.push_back(!sum.empty());
  }
  std::vector<std::vector<TreeStep>> steps;
  for (int r = 0; r < replicas; ++r) {
    steps.push_back(tree_steps(std::ssize(shards), filled, r, owner));
  }
  std::map<std::pair<int, int>, std::deque<Vector>> messages;  // from, to
  std::vector<std::size_t> at(replicas, 0);
  Vector result;
  const auto add = [](Vector& to, const Vector& from) {
    for (std::size_t i = 0; i < to.size(); ++i) to[i] += from[i];
  };
  for (bool moved = true; moved;) {
    moved = false;
    for (int r = 0; r < replicas; ++r) {
      if (at[r] == steps[r].size()) continue;
      const TreeStep& step = steps[r][at[r]];
      std::optional<Vector> received;
      const bool receives = step.kind == Kind::receive_left || step.kind == Kind::receive_right ||
                            step.kind == Kind::receive_result;
      if (receives) {
        auto& queue = messages[{step.peer, r}];
        if (queue.empty()) continue;
        received = std::move(queue.front());
        queue.pop_front();
      }
      std::vector<Vector>& slots = ranks[r].sums;
      switch (step.kind) {
        case Kind::add:
          add(slots[step.slot], slots[step.other_slot]);
          break;
        case Kind::send:
          messages[{r, step.peer}].push_back(slots[step.slot]);
          break;
        case Kind::receive_left:
        case Kind::receive_right:
          add(slots[step.slot], *received);
          break;
        case Kind::keep_result:
          result = slots[step.slot];
          break;
        case Kind::receive_result:
          result = *received;
          break;
        case Kind::zero_result:
          result.assign(length, 0.0f);
          break;
      }
      ++at[r];
      moved = true;
    }
  }
  for (int r = 0; r < replicas; ++r) EXPECT_EQ(at[r], steps[r].size()) << "rank " << r << " waits";
  for (const auto& [pair, queue] : messages) EXPECT_TRUE(queue.empty()) << "a message is left";
  return result;
}

TEST(TreeSteps, AnyNumberOfReplicasGivesTheBytesOfTheTree) {
  for (const std::int64_t count : kShardCounts) {
    for (const bool with_empty : {false, true}) {
      const Shards shards = random_shards(count, 9, static_cast<unsigned>(count), with_empty);
      const auto expected = bits(oracle_sum(shards, 9));
      for (int replicas = 1; replicas <= 20; ++replicas) {
        for (int owner = 0; owner < replicas; ++owner) {
          ASSERT_EQ(bits(play(shards, 9, replicas, owner)), expected)
              << count << " shards, " << replicas << " replicas, owner " << owner;
        }
      }
    }
  }
}

TEST(TreeSteps, OnlyOneRankNeedsNoMessages) {
  const std::vector<std::vector<bool>> filled{{true}};
  const std::vector<TreeStep> expected{{.kind = TreeStep::Kind::keep_result, .slot = 0}};
  EXPECT_EQ(tree_steps(16, filled, 0, 0), expected);
}

TEST(TreeSteps, NoMoreMessagesThanReplicasThatGiveAway) {
  // 16 shards on 4 replicas are one subtree each: three sums have to travel, wherever the owner is.
  const std::vector<std::vector<bool>> filled(4, {true});
  for (int owner = 0; owner < 4; ++owner) {
    int sends = 0;
    for (int r = 0; r < 4; ++r) {
      for (const TreeStep& step : tree_steps(16, filled, r, owner)) {
        sends += step.kind == TreeStep::Kind::send;
      }
    }
    EXPECT_EQ(sends, 3) << owner;
  }
}

}  // namespace
}  // namespace bitgrid::dist
