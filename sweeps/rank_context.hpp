#pragma once

#include <chrono>
#include <string>

#include "core/checkpoint/checkpoint.hpp"
#include "core/model/segments.hpp"
#include "dist/comm.hpp"
#include "dist/topology.hpp"
#include "kernels/place.hpp"
#include "results/store.hpp"
#include "sweeps/inputs.hpp"
#include "sweeps/sweep.hpp"

namespace bitgrid {

// What one rank of a sweep works with. References outlive every pass.
struct RankContext {
  const Sweep& sweep;
  const Inputs& inputs;
  const Checkpoint& checkpoint;
  const LlamaConfig& config;
  const Place& place;
  const dist::Topology& topology;
  const dist::Comm& world;
  const dist::Comm& replicas;  // the ranks of this stage
  results::Store& store;
  const RopeTable& rope;
  results::RankCounters& counters;
  std::string host;
  bool keeps_widest_tap =
      true;  // of its calibration windows; else it is made again, shard by shard

  // Which of a set's windows this rank holds.
  ShardRange own_windows(std::int64_t windows) const {
    return replica_windows(windows, sweep.calibration.shards, topology.replicas,
                           topology.replica());
  }
  ShardRange own_shards() const {
    return replica_shards(sweep.calibration.shards, topology.replicas, topology.replica());
  }
  ShardRange own_layers() const { return topology.layers(config.layer_count, topology.stage()); }
  bool first_stage() const { return topology.stage() == 0; }
  bool last_stage() const { return topology.stage() == topology.stages - 1; }
};

// Adds the seconds of its life to one term.
class Stopwatch {
 public:
  explicit Stopwatch(double& seconds)
      : seconds_(seconds), start_(std::chrono::steady_clock::now()) {}
  ~Stopwatch() { seconds_ += elapsed_s(); }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;
  double elapsed_s() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  double& seconds_;
  std::chrono::steady_clock::time_point start_;
};

double wall_clock_s();             // seconds since 1970
std::int64_t peak_memory_bytes();  // of this process so far

}  // namespace bitgrid
