#pragma once

#include <cstdint>

#include "kernels/shard_tree.hpp"

namespace bitgrid::dist {

// World = stages × replicas. Rank r is replica r mod D of stage r / D: the ranks of a stage are neighbours.
// Stage s owns the layers floor(s·L/S) … floor((s+1)·L/S) − 1.
struct Topology {
  int stages = 1;
  int replicas = 1;
  int rank = 0;

  int stage() const { return rank / replicas; }
  int replica() const { return rank % replicas; }
  int rank_of(int stage, int replica) const { return stage * replicas + replica; }
  ShardRange layers(std::int64_t layer_count, int stage) const { return shard_windows(layer_count, stages, stage); }
  bool operator==(const Topology&) const = default;
};

// Chooses S and D where 0 stands for "auto": as many stages as divide the ranks and do not exceed the layers… see the source.
// Throws InputError when stages × replicas is not the number of ranks, or there are more stages than layers or more
// replicas than shards.
Topology make_topology(int ranks, int rank, int stages, int replicas, std::int64_t layer_count, std::int64_t shards,
                       std::int64_t cells);

}  // namespace bitgrid::dist
