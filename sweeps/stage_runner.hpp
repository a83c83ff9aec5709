#pragma once

#include <map>
#include <optional>
#include <set>
#include <vector>

#include "core/model/weights.hpp"
#include "dist/stop.hpp"
#include "sweeps/cell_recorder.hpp"
#include "sweeps/hand_over.hpp"
#include "sweeps/jobs.hpp"
#include "sweeps/layer_quantizer.hpp"
#include "sweeps/layer_source.hpp"
#include "sweeps/progress_channel.hpp"
#include "sweeps/rank_context.hpp"

namespace bitgrid {

// What a rank knows when its stage has seen every cell.
struct StageVerdict {
  bool stopped = false;  // by a signal, or because the run cannot go on
  std::optional<std::string>
      run_error;  // why the run cannot go on, where it happened on this stage
};

// One rank's work on all cells: each group of cells arrives, passes the stage's layers and departs;
// at the last stage its cells are measured and recorded. Every rank goes through all groups in the
// same order, even after a stop, so that nobody is left waiting: what is not done any more is
// passed on as stopped.
class StageRunner {
 public:
  StageRunner(RankContext& rank, const std::vector<CellJob>& jobs,
              const std::vector<CellGroup>& groups, dist::StopRequest& stop,
              ProgressChannel& progress);
  StageVerdict run();

 private:
  // One layer of one cell, and the seconds spent on it.
  struct CellPass {
    std::int64_t job_index;
    const CellJob& job;
    CellStates& states;
    bool quantize;
    results::Seconds seconds;
    LayerMember member;
  };
  // One layer of a group.
  struct LayerPass {
    std::int64_t layer;
    bool full_inputs, calibrating, last_calibration;
    double started_s;
    std::vector<CellPass> cells;  // those that are going and have something to do
    LayerWeights original;        // the checkpoint's, where somebody needs it
  };

  void run_group(const CellGroup& group);
  void end_cell(const CellGroup& group, std::int64_t job_index, CellStates& states);
  void measure_cell(const CellGroup& group, std::int64_t job_index, CellStates& states);
  // A failure that all replicas of the stage agreed on: of this cell, or of the run as a whole.
  void take_note(const AgreedFailure& agreed, CellTravel& travel);
  void take_note(const AgreedFailure& agreed, GroupStates& states);
  void pass_layers(const CellGroup& group, GroupStates& states);
  void pass_layer(const CellGroup& group, std::int64_t layer, GroupStates& states);
  LayerPass start_pass(const CellGroup& group, std::int64_t layer, GroupStates& states);
  void advance_calibration(LayerPass& pass, WindowStates& calibration);
  void finish_cell(LayerPass& pass, CellPass& cell);
  void advance_evaluation(const LayerPass& pass, CellPass& cell, const LayerWeights& weights);
  void store_layer(const LayerPass& pass, CellPass& cell);
  bool stop_agreed();  // collective over the stage's replicas

  RankContext& rank_;
  const std::vector<CellJob>& jobs_;
  const std::vector<CellGroup>& groups_;
  dist::StopRequest& stop_;
  ProgressChannel& progress_;
  HandOver hand_over_;
  StageVerdict verdict_;
  std::set<std::int64_t> failed_cells_;       // on this stage or before: no later wave is asked
  OutputWeights output_;                      // last stage: read once, kept from cell to cell
  std::map<std::int64_t, CellSoFar> so_far_;  // last stage: by cell, between its waves
  // Last stage: the unquantized model's output of the last layer on its own windows, by evaluation
  // set; empty where nobody asks for it.
  std::vector<Matrix<float>> reference_;
};

}  // namespace bitgrid
