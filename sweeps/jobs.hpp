#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "results/store.hpp"
#include "sweeps/inputs.hpp"
#include "sweeps/sweep.hpp"
#include "sweeps/waves.hpp"

namespace bitgrid {

struct EvaluationSizes;

// What is left to do for one cell of a sweep, given what the store holds, or a part of it: where
// question sets are asked in several waves, the cell's first job quantizes, measures and asks the
// first wave, and each later one replays the stored layers and asks the next. The same on every
// rank.
struct CellJob {
  std::int64_t cell = 0;  // index into the sweep's cells
  std::vector<std::uint8_t>
      stored;  // by layer: 1 where the quantized layer is there and only has to be replayed
  std::vector<std::int64_t> measure;  // evaluation sets without a stored measurement
  Wave tasks;                         // of the question sets likewise, those of this wave
  std::int64_t wave = 0, wave_count = 1;
  std::string
      failure;  // why there is nothing to do after all, found before its layers were reached
  bool calibrate = false;  // some layer is to be quantized and the recipe needs statistics
  bool compares = false;   // what is measured is compared with the unquantized model's states
  bool keeps = false;      // the unquantized model, whose last hidden states stay for that
  bool replays = false;    // for nothing else: it is measured already, or was not chosen
  bool evaluates() const { return !measure.empty() || !tasks.empty(); }
  bool first_wave() const { return wave == 0; }
  bool last_wave() const { return wave + 1 == wave_count; }
  std::int64_t layers_missing() const;
  // The calibration windows walk the layers up to the last one that is to be quantized.
  std::int64_t calibration_layers() const;
};

// Chosen cells that need work, in the sweep's order, the waves of a cell one after the other. A
// failed cell is tried again, without what it was asked and measured before; a finished one is left
// alone unless an evaluation set is new or its tensors were dropped and are wanted again. Where
// cells are to be compared with the unquantized one, that comes first, walking their sets.
std::vector<CellJob> list_jobs(const Sweep& sweep, const Inputs& inputs,
                               const results::Store& store, const std::string& model_fingerprint,
                               std::int64_t layer_count, const EvaluationSizes& sizes,
                               const PackRooms& rooms);

// Cells that go through the layers together because all of them see the unquantized model's inputs:
// they share walks, statistics and factors. Any other cell is a group of its own.
struct CellGroup {
  std::vector<std::int64_t> jobs;  // indices into the list of jobs
  bool full_inputs = false;
};
// In the order of the jobs, a cell's first job before its later ones; a group has at most `most`
// cells.
inline constexpr std::int64_t kGroupCells = 16;  // where memory allows so many
std::vector<CellGroup> group_jobs(const Sweep& sweep, const std::vector<CellJob>& jobs,
                                  std::int64_t most);

// Collective: rank 0's list on every rank.
void broadcast_jobs(const dist::Comm& world, std::vector<CellJob>& jobs);

}  // namespace bitgrid
