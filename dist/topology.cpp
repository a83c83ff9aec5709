#include "dist/topology.hpp"

#include <fmt/core.h>

#include <algorithm>

#include "kernels/error.hpp"

namespace bitgrid::dist {
namespace {

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// Whole numbers, which every rank rounds alike: the formula of the header, times 10 N.
double cost(int stages, int replicas, std::int64_t layers, std::int64_t shards,
            std::int64_t cells) {
  return static_cast<double>(cells + stages - 1) * static_cast<double>(divide_up(layers, stages)) *
         static_cast<double>(10 * divide_up(shards, replicas) + shards);
}

int best_stages(int ranks, std::int64_t layers, std::int64_t shards, std::int64_t cells) {
  int best = 0;
  double best_cost = 0;
  for (int stages = 1; stages <= ranks && stages <= layers; ++stages) {
    if (ranks % stages != 0 || ranks / stages > shards) continue;
    const double its_cost = cost(stages, ranks / stages, layers, shards, cells);
    if (best == 0 || its_cost <= best_cost) {
      best = stages;
      best_cost = its_cost;
    }
  }
  return best;
}

int other_factor(int ranks, int given, const char* given_name) {
  if (ranks % given == 0) return ranks / given;
  throw InputError(fmt::format("[run] {} = {} does not divide the {} ranks of this run", given_name,
                               given, ranks));
}

}  // namespace

Topology make_topology(int ranks, int rank, int stages, int replicas, std::int64_t layer_count,
                       std::int64_t shards, std::int64_t cells) {
  BITGRID_ASSERT(ranks > 0 && rank >= 0 && rank < ranks);
  BITGRID_ASSERT(layer_count > 0 && shards > 0);
  if (stages < 0 || replicas < 0) {
    throw InputError("[run] stages and replicas must be \"auto\" or positive numbers");
  }
  if (stages == 0 && replicas == 0) {
    stages = best_stages(ranks, layer_count, shards, std::max<std::int64_t>(cells, 1));
    if (stages == 0) {
      throw InputError(
          fmt::format("{} ranks cannot be split into stages × replicas with at most {} "
                      "stages (layers) and {} replicas ([calibration] shards)",
                      ranks, layer_count, shards));
    }
    replicas = ranks / stages;
  } else if (stages == 0) {
    stages = other_factor(ranks, replicas, "replicas");
  } else if (replicas == 0) {
    replicas = other_factor(ranks, stages, "stages");
  }
  if (std::int64_t{stages} * replicas != ranks) {
    throw InputError(
        fmt::format("[run] stages × replicas = {} × {} must be the number of ranks, {}", stages,
                    replicas, ranks));
  }
  if (stages > layer_count) {
    throw InputError(
        fmt::format("{} stages are more than the model's {} layers", stages, layer_count));
  }
  if (replicas > shards) {
    throw InputError(fmt::format("{} replicas are more than the {} shards of [calibration] shards",
                                 replicas, shards));
  }
  return {stages, replicas, rank};
}

}  // namespace bitgrid::dist
