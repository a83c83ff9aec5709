#pragma once

#include <vector>

#include "dist/progress.hpp"
#include "sweeps/cell_travel.hpp"
#include "sweeps/jobs.hpp"
#include "sweeps/window_states.hpp"

namespace bitgrid {

// What a cell has with it at a stage, on one replica.
struct CellStates {
  CellTravel travel;
  WindowStates calibration;              // windows null: not needed (any more)
  std::vector<WindowStates> evaluation;  // one per set in CellJob::measure
};

// Cells on their way from stage to stage: replica d of a stage sends to replica d of the next. A
// stage goes on with the next cell while the states of the last one are still under way, at most
// one cell ahead.
class HandOver {
 public:
  explicit HandOver(RankContext& rank);

  // Stage 0: the embeddings, started here; collective over the replicas, throws AgreedFailure.
  // Later stages: what the stage before sends, however long it takes as long as that stage shows
  // signs of life.
  CellStates arrive(const CellJob& job);
  // To the next stage; a cell that is not going takes no states along.
  void depart(const CellJob& job, CellStates states);
  void sign_of_life();  // to both neighbours, after a layer: their wait for this stage starts again
  void finish();        // the later stages have done their work, and everything sent has been taken

 private:
  CellStates embed(const CellJob& job);
  CellStates receive(const CellJob& job);
  void wait_for_room();
  // Whether the calibration windows are still needed where a stage's layers begin.
  bool calibration_enters(const CellJob& job, int stage) const;

  RankContext& rank_;
  int before_, after_;  // the same replica's rank in the neighbouring stages; −1: there is none
  dist::PendingSends sends_;
};

}  // namespace bitgrid
