#include <map>
#include <utility>

#include "dist/tree_reduce.hpp"
#include "kernels/error.hpp"

namespace bitgrid::dist {
namespace {

struct Held {  // where the sum of a node lies
  int rank = -1;
  int slot = -1;
  bool is_empty() const { return rank < 0; }
};

// Walks the tree in the order left, right, node, as every rank does, and notes this rank's part.
class Walk {
 public:
  Walk(std::int64_t shards, const std::vector<std::vector<bool>>& filled, int rank, int owner)
      : shards_(shards), rank_(rank), owner_(owner) {
    const auto replicas = std::ssize(filled);
    for (int r = 0; r < replicas; ++r) {
      const auto nodes = shard_subtrees(replica_shards(shards, replicas, r), shards);
      BITGRID_ASSERT(nodes.size() == filled[r].size());
      for (int slot = 0; slot < std::ssize(nodes); ++slot) {
        const Held held = filled[r][slot] ? Held{r, slot} : Held{};
        leaves_[{nodes[slot].level, nodes[slot].index}] = held;
      }
    }
  }

  std::vector<TreeStep> steps() && {
    using Kind = TreeStep::Kind;
    const Held root = sum(shard_tree_root(shards_));
    if (root.is_empty()) {
      note(owner_, {.kind = Kind::zero_result});
    } else if (root.rank == owner_) {
      note(owner_, {.kind = Kind::keep_result, .slot = root.slot});
    } else {
      note(root.rank, {.kind = Kind::send, .slot = root.slot, .peer = owner_});
      note(owner_, {.kind = Kind::receive_result, .peer = root.rank});
    }
    return std::move(steps_);
  }

 private:
  void note(int rank, const TreeStep& step) {
    if (rank == rank_) steps_.push_back(step);
  }

  Held sum(ShardNode node) {
    if (shard_node_range(node, shards_).count == 0) return {};
    if (const auto leaf = leaves_.find({node.level, node.index}); leaf != leaves_.end()) {
      return leaf->second;
    }
    BITGRID_ASSERT(node.level > 0);
    const Held left = sum({node.level - 1, 2 * node.index});
    const Held right = sum({node.level - 1, 2 * node.index + 1});
    if (left.is_empty()) return right;
    if (right.is_empty()) return left;
    return add(left, right);
  }

  // On the rank that has the left sum, unless the owner has the right one: that saves a message.
  Held add(Held left, Held right) {
    using Kind = TreeStep::Kind;
    if (left.rank == right.rank) {
      note(left.rank, {.kind = Kind::add, .slot = left.slot, .other_slot = right.slot});
      return left;
    }
    if (right.rank == owner_) {
      note(left.rank, {.kind = Kind::send, .slot = left.slot, .peer = right.rank});
      note(right.rank, {.kind = Kind::receive_left, .slot = right.slot, .peer = left.rank});
      return right;
    }
    note(right.rank, {.kind = Kind::send, .slot = right.slot, .peer = left.rank});
    note(left.rank, {.kind = Kind::receive_right, .slot = left.slot, .peer = right.rank});
    return left;
  }

  std::int64_t shards_;
  int rank_;
  int owner_;
  std::map<std::pair<int, std::int64_t>, Held> leaves_;  // by level and index
  std::vector<TreeStep> steps_;
};

}  // namespace

std::vector<TreeStep> tree_steps(std::int64_t shards, const std::vector<std::vector<bool>>& filled,
                                 int rank, int owner) {
  return Walk(shards, filled, rank, owner).steps();
}

}  // namespace bitgrid::dist
