#pragma once

#include <algorithm>
#include <set>
#include <vector>

#include "dist/progress.hpp"
#include "sweeps/cell_travel.hpp"
#include "sweeps/jobs.hpp"
#include "sweeps/pack_states.hpp"
#include "sweeps/window_states.hpp"

namespace bitgrid {

// What a cell has with it at a stage, on one replica.
struct CellStates {
  CellTravel travel;
  std::vector<WindowStates> evaluation;  // one per set in CellJob::measure
  std::vector<PackStates> tasks;         // one per part of a set in CellJob::tasks
  bool going() const { return travel.outcome == Outcome::going; }
};
struct GroupStates {
  WindowStates calibration;  // shared by all cells; windows null: not needed (any more)
  std::vector<CellStates> cells;
  bool going() const {
    return std::any_of(cells.begin(), cells.end(), [](const CellStates& c) { return c.going(); });
  }
};

// Groups of cells on their way from stage to stage: replica d of a stage sends to replica d of the
// next. A stage goes on with the next group while the states of the last one are still under way,
// at most one group ahead.
class HandOver {
 public:
  HandOver(RankContext& rank, const std::vector<CellJob>& jobs);

  // Stage 0: the embeddings, started here; collective over the replicas, throws AgreedFailure.
  // Later stages: what the stage before sends, however long it takes as long as that stage shows
  // signs of life. Jobs of cells that have failed on this stage before are dropped.
  GroupStates arrive(const CellGroup& group, const std::set<std::int64_t>& failed_cells);
  // To the next stage; a cell that is not going takes no states along.
  void depart(const CellGroup& group, GroupStates states);
  void sign_of_life();  // to both neighbours, after a layer: their wait for this stage starts again
  void finish();        // the later stages have done their work, and everything sent has been taken

 private:
  GroupStates embed(const CellGroup& group, const std::set<std::int64_t>& failed_cells);
  void drop_failed(const CellGroup& group, const std::set<std::int64_t>& failed_cells,
                   GroupStates& states) const;
  GroupStates receive(const CellGroup& group);
  CellStates receive_cell();
  const CellJob& job(const CellGroup& group, std::size_t i) const {
    return jobs_[static_cast<std::size_t>(group.jobs[i])];
  }
  void wait_for_room();
  // Whether a cell that is going still needs the calibration windows where a stage's layers begin.
  bool calibration_enters(const CellGroup& group, const GroupStates& states, int stage) const;

  RankContext& rank_;
  const std::vector<CellJob>& jobs_;
  int before_, after_;  // the same replica's rank in the neighbouring stages; −1: there is none
  dist::PendingSends sends_;
};

}  // namespace bitgrid
