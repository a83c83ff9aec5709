#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/evaluation/request_packs.hpp"
#include "sweeps/jobs.hpp"
#include "sweeps/rank_context.hpp"

namespace bitgrid {

// Hidden states of packs of one question set on this rank: x [tokens of own packs, hidden] fp32,
// pack after pack.
struct PackStates {
  std::int64_t task = 0;  // index into Inputs::tasks
  std::shared_ptr<const std::vector<RequestPack>> packs;
  std::vector<std::vector<std::int64_t>> dealt;  // by replica: its packs, ascending
  std::vector<std::int64_t> own;                 // this replica's
  bool completes_task = true;                    // no later wave has more of its packs
  std::vector<std::int64_t> first_row;           // of each own pack
  Matrix<float> x;

  const RequestPack& pack(std::size_t i) const {
    return (*packs)[static_cast<std::size_t>(own[i])];
  }
  MatrixView<float> rows(std::size_t i) { return x.rows_from(first_row[i], pack(i).tree.tokens()); }
};

// The packs of a job's question sets, dealt to the replicas by predicted cost, dearest first. What
// a pack becomes does not depend on who computes it.
std::vector<PackStates> deal_packs(const RankContext& rank, const CellJob& job);
void embed_packs(RankContext& rank, std::vector<PackStates>& tasks);

// Takes packs through one layer: threads over packs of all tasks. Throws Error naming the task if a
// hidden state stops being finite.
void forward_packs(RankContext& rank, const LayerWeights& weights, std::vector<PackStates>& tasks);

// Collective over the last stage's replicas: the scores of all requests of these packs, on every
// replica; `scores` has those of the task's other packs already, or is empty.
void score_requests(RankContext& rank, const OutputWeights& output, PackStates& states,
                    std::vector<RequestScore>& scores);

}  // namespace bitgrid
