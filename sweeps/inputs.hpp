#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/checkpoint/checkpoint.hpp"
#include "core/text/datasets.hpp"
#include "dist/comm.hpp"
#include "results/records.hpp"
#include "sweeps/sweep.hpp"
#include "sweeps/task_inputs.hpp"

namespace bitgrid {

// Everything that a sweep reads besides weights: token windows and their provenance. Small; every
// rank holds all of it.
struct Inputs {
  Windows calibration;  // count 0 if no recipe of the sweep needs calibration data
  std::string calibration_fingerprint;
  std::vector<EvaluationText> evaluation;  // in the sweep's order
  std::string bos;                         // "always" or "never", resolved
  std::vector<TaskInput> tasks;            // in the sweep's order, those that can be asked
  std::vector<std::string> task_faults;    // one line for each of the others
};

// Draws and tokenizes. Throws InputError.
Inputs read_inputs(const Sweep& sweep, const Checkpoint& checkpoint);

// Checks what sweep and model only together can get wrong (groups that do not divide, windows
// longer than the model, budgets that cannot be met). Throws InputError.
void check_sweep_against_model(const Sweep& sweep, const LlamaConfig& config);
// One sentence for each chosen cell whose budget is more than its linears can take.
std::vector<std::string> budget_warnings(const Sweep& sweep, const LlamaConfig& config);

// Collective: what rank 0 read, on every rank.
void broadcast_inputs(const dist::Comm& world, const Sweep& sweep, Inputs& inputs);

// Where a cell comes from; the same on every rank.
results::CellHeader cell_header(const Sweep& sweep, const Recipe& recipe, const Inputs& inputs,
                                const std::string& model_fingerprint);
// A metric without its value, for comparing with what is stored.
results::MetricRecord metric_header(const EvaluationText& text, const std::string& bos);

}  // namespace bitgrid
