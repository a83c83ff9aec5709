#pragma once

#include <cstdint>

#include "kernels/shard_tree.hpp"

namespace bitgrid::dist {

// World = stages × replicas. Rank r is replica r mod D of stage r / D: the ranks of a stage are
// neighbours. Stage s owns the layers floor(s·L/S) … floor((s+1)·L/S) − 1.
struct Topology {
  int stages = 1;
  int replicas = 1;
  int rank = 0;

  int stage() const { return rank / replicas; }
  int replica() const { return rank % replicas; }
  int rank_of(int stage, int replica) const { return stage * replicas + replica; }
  ShardRange layers(std::int64_t layer_count, int stage) const {
    return shard_windows(layer_count, stages, stage);
  }
  bool operator==(const Topology&) const = default;
};

// Chooses S and D where 0 stands for "auto". With both open, G cells on L layers and N shards take
//   (G + S − 1) · ceil(L/S) · (ceil(N/D)/N + 1/10)
// times one rank's work on one layer: a cell passes S stages like an assembly line, a layer's
// windows are shared by D replicas, and about a tenth of the work (factoring, exchanging sums) is
// not. The smallest wins; of equal ones that with more stages, whose ranks hold fewer layers. So
// few cells get replicas, and many cells get stages.
//
// Throws InputError when stages × replicas is not the number of ranks, or there are more stages
// than layers or more replicas than shards, or no such split exists.
Topology make_topology(int ranks, int rank, int stages, int replicas, std::int64_t layer_count,
                       std::int64_t shards, std::int64_t cells);

}  // namespace bitgrid::dist
