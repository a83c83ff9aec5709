#pragma once

#include <optional>
#include <vector>

#include "core/model/weights.hpp"
#include "dist/stop.hpp"
#include "sweeps/hand_over.hpp"
#include "sweeps/jobs.hpp"
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

// One rank's work on all cells: each cell arrives, passes the stage's layers and departs; at the
// last stage it is measured and recorded. Every rank goes through all jobs in the same order, even
// after a stop, so that nobody is left waiting: what is not done any more is passed on as stopped.
class StageRunner {
 public:
  StageRunner(RankContext& rank, const std::vector<CellJob>& jobs, dist::StopRequest& stop,
              ProgressChannel& progress);
  StageVerdict run();

 private:
  void run_cell(std::int64_t job_index);
  void measure_cell(std::int64_t job_index, CellStates& states);
  void take_note(const AgreedFailure& agreed, CellTravel& travel);
  void pass_layers(std::int64_t job_index, CellStates& states);
  void pass_layer(std::int64_t job_index, std::int64_t layer, CellStates& states);
  // One layer of one cell, and the seconds spent on it.
  struct LayerPass {
    const CellJob& job;
    std::int64_t layer;
    bool quantize, calibrating, last_calibration;
    double started_s;
    results::Seconds seconds;
  };
  LayerWeights fetch_weights(LayerPass& pass);
  std::vector<QuantizedLinear> advance_calibration(LayerPass& pass, LayerWeights& weights,
                                                   CellStates& states);
  void advance_evaluation(LayerPass& pass, const LayerWeights& weights, CellStates& states);
  void store_layer(LayerPass& pass, std::vector<QuantizedLinear> linears, CellStates& states);
  bool stop_agreed();  // collective over the stage's replicas

  RankContext& rank_;
  const std::vector<CellJob>& jobs_;
  dist::StopRequest& stop_;
  ProgressChannel& progress_;
  HandOver hand_over_;
  StageVerdict verdict_;
  OutputWeights output_;  // last stage: read once, kept from cell to cell
};

}  // namespace bitgrid
