#include "sweeps/hand_over.hpp"

#include <algorithm>
#include <memory>
#include <utility>

#include "dist/wait.hpp"
#include "kernels/error.hpp"
#include "sweeps/layer_source.hpp"
#include "sweeps/message_tags.hpp"

namespace bitgrid {
namespace {

std::span<const std::byte> bytes_of(const Matrix<float>& matrix) {
  return std::as_bytes(std::span(matrix.data(), static_cast<std::size_t>(matrix.size())));
}
std::span<std::byte> bytes_of(Matrix<float>& matrix) {
  return std::as_writable_bytes(std::span(matrix.data(), static_cast<std::size_t>(matrix.size())));
}

}  // namespace

HandOver::HandOver(RankContext& rank)
    : rank_(rank),
      before_(rank.first_stage() ? -1 : rank.topology.rank - rank.topology.replicas),
      after_(rank.last_stage() ? -1 : rank.topology.rank + rank.topology.replicas),
      sends_(rank.world) {}

bool HandOver::calibration_enters(const CellJob& job, int stage) const {
  return job.calibration_layers() > rank_.topology.layers(rank_.config.layer_count, stage).first;
}

CellStates HandOver::arrive(const CellJob& job) {
  return rank_.first_stage() ? embed(job) : receive(job);
}

CellStates HandOver::embed(const CellJob& job) {
  CellStates states;
  states.travel.started_s = wall_clock_s();
  states.travel.hosts = {rank_.host};
  agree_or_throw(rank_.replicas, dist::attempt([&] {
                   if (calibration_enters(job, 0))
                     states.calibration = embed_windows(rank_, rank_.inputs.calibration);
                   for (const std::int64_t set : job.measure)
                     states.evaluation.push_back(embed_windows(
                         rank_, rank_.inputs.evaluation[static_cast<std::size_t>(set)].windows));
                 }));
  return states;
}

CellStates HandOver::receive(const CellJob& job) {
  CellStates states;
  double waited_s = 0;
  {
    const Stopwatch watch(waited_s);
    std::int64_t size = 0;
    dist::receive_with_ticks(rank_.world, std::as_writable_bytes(std::span(&size, 1)), before_,
                             kHandOverTag, after_, "the next cell from the stage before");
    std::string text(static_cast<std::size_t>(size), '\0');
    rank_.world.receive(std::as_writable_bytes(std::span(text)), before_, kHandOverTag,
                        "a cell's summary");
    states.travel = CellTravel::from_text(text);
    if (states.travel.outcome != Outcome::going) return states;
    if (calibration_enters(job, rank_.topology.stage())) {
      states.calibration = empty_states(rank_, rank_.inputs.calibration);
      rank_.world.receive(bytes_of(states.calibration.x), before_, kHandOverTag,
                          "calibration windows");
    }
    for (const std::int64_t set : job.measure) {
      states.evaluation.push_back(
          empty_states(rank_, rank_.inputs.evaluation[static_cast<std::size_t>(set)].windows));
      rank_.world.receive(bytes_of(states.evaluation.back().x), before_, kHandOverTag,
                          "evaluation windows");
    }
  }
  states.travel.seconds["wait"] += waited_s;
  return states;
}

// At most one cell's states are under way: a fast stage waits here for a slow one instead of
// filling memory.
void HandOver::wait_for_room() {
  dist::Waiting waiting(rank_.world, "the next stage to take a cell");
  while (sends_.bytes() > 0) {
    if (dist::take_ticks(rank_.world, after_, before_) > 0) waiting.restart();
    sends_.poll();
    if (sends_.bytes() > 0) waiting.pause();
  }
}

void HandOver::depart(const CellJob& job, CellStates states) {
  {
    const Stopwatch watch(states.travel.seconds["wait"]);
    wait_for_room();
  }
  states.travel.peak_memory_bytes = std::max(states.travel.peak_memory_bytes, peak_memory_bytes());
  if (std::find(states.travel.hosts.begin(), states.travel.hosts.end(), rank_.host) ==
      states.travel.hosts.end())
    states.travel.hosts.push_back(rank_.host);
  struct Parcel {
    std::string text;
    std::int64_t size;
    CellStates states;
  };
  const auto parcel = std::make_shared<Parcel>();
  parcel->text = states.travel.to_text();
  parcel->size = static_cast<std::int64_t>(parcel->text.size());
  parcel->states = std::move(states);
  sends_.send(parcel, std::as_bytes(std::span(&parcel->size, 1)), after_, kHandOverTag);
  sends_.send(parcel, std::as_bytes(std::span(parcel->text)), after_, kHandOverTag);
  if (parcel->states.travel.outcome != Outcome::going) return;
  if (calibration_enters(job, rank_.topology.stage() + 1))
    sends_.send(parcel, bytes_of(std::as_const(parcel->states.calibration.x)), after_,
                kHandOverTag);
  for (const WindowStates& set : parcel->states.evaluation)
    sends_.send(parcel, bytes_of(set.x), after_, kHandOverTag);
}

void HandOver::sign_of_life() {
  dist::tick(rank_.world, after_);
  dist::tick(rank_.world, before_);
  sends_.poll();
}

void HandOver::finish() {
  if (after_ >= 0)
    dist::receive_with_ticks(rank_.world, {}, after_, kFarewellTag, before_,
                             "the later stages to finish");
  sends_.wait_all("the next stage to take the last cell");
  if (before_ >= 0) rank_.world.send({}, before_, kFarewellTag, "the end of this stage");
}

}  // namespace bitgrid
