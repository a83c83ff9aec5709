#include "sweeps/plan_command.hpp"

#include <fmt/format.h>

#include "core/checkpoint/checkpoint.hpp"
#include "dist/topology.hpp"
#include "sweeps/inputs.hpp"
#include "sweeps/machine_memory.hpp"
#include "sweeps/plan.hpp"

namespace bitgrid {

int run_plan(const SweepCommand& command, int ranks) {
  const Sweep sweep = only_chosen(read_sweep(command.file, command.overrides));
  const Checkpoint checkpoint = Checkpoint::open(sweep.model);
  const LlamaConfig& config = checkpoint.config();
  check_sweep_against_model(sweep, config);
  const Place place = cpu_place(sweep.run.threads);
  const dist::Topology topology =
      dist::make_topology(ranks, 0, sweep.run.stages, sweep.run.replicas, config.layer_count,
                          sweep.calibration.shards, static_cast<std::int64_t>(sweep.cells.size()));
  const Inputs inputs = read_inputs(sweep, checkpoint);
  const PlanWorld world{topology.stages, topology.replicas, place_threads(place), machine_memory()};
  fmt::print("{}", plan_text(make_plan(sweep, config, world, evaluation_sizes(sweep, inputs),
                                       measure_machine(place))));
  return 0;
}

}  // namespace bitgrid
