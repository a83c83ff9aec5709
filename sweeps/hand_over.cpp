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

HandOver::HandOver(RankContext& rank, const std::vector<CellJob>& jobs)
    : rank_(rank),
      jobs_(jobs),
      before_(rank.first_stage() ? -1 : rank.topology.rank - rank.topology.replicas),
      after_(rank.last_stage() ? -1 : rank.topology.rank + rank.topology.replicas),
      sends_(rank.world) {}

bool HandOver::calibration_enters(const CellGroup& group, const GroupStates& states,
                                  int stage) const {
  const std::int64_t first = rank_.topology.layers(rank_.config.layer_count, stage).first;
  for (std::size_t i = 0; i < group.jobs.size(); ++i)
    if (states.cells[i].going() && job(group, i).calibration_layers() > first) return true;
  return false;
}

void HandOver::drop_failed(const CellGroup& group, const std::set<std::int64_t>& failed_cells,
                           GroupStates& states) const {
  for (std::size_t i = 0; i < group.jobs.size(); ++i)
    if (states.cells[i].going() && failed_cells.contains(job(group, i).cell))
      states.cells[i].travel.outcome = Outcome::dropped;
}

GroupStates HandOver::arrive(const CellGroup& group, const std::set<std::int64_t>& failed_cells) {
  if (rank_.first_stage()) return embed(group, failed_cells);
  GroupStates states = receive(group);
  drop_failed(group, failed_cells, states);
  return states;
}

GroupStates HandOver::embed(const CellGroup& group, const std::set<std::int64_t>& failed_cells) {
  GroupStates states;
  states.cells.resize(group.jobs.size());
  for (std::size_t i = 0; i < group.jobs.size(); ++i) {
    CellTravel& travel = states.cells[i].travel;
    travel.started_s = wall_clock_s();
    travel.hosts = {rank_.host};
    travel.failure = job(group, i).failure;
    if (!travel.failure.empty()) travel.outcome = Outcome::failed;
  }
  drop_failed(group, failed_cells, states);
  agree_or_throw(rank_.replicas, dist::attempt([&] {
                   if (calibration_enters(group, states, 0))
                     states.calibration = embed_windows(rank_, rank_.inputs.calibration);
                   for (std::size_t i = 0; i < group.jobs.size(); ++i) {
                     if (!states.cells[i].going()) continue;
                     for (const std::int64_t set : job(group, i).measure)
                       states.cells[i].evaluation.push_back(embed_windows(
                           rank_, rank_.inputs.evaluation[static_cast<std::size_t>(set)].windows));
                     states.cells[i].tasks = deal_packs(rank_, job(group, i));
                     embed_packs(rank_, states.cells[i].tasks);
                   }
                 }));
  return states;
}

CellStates HandOver::receive_cell() {
  CellStates cell;
  std::int64_t size = 0;
  dist::receive_with_ticks(rank_.world, std::as_writable_bytes(std::span(&size, 1)), before_,
                           kHandOverTag, after_, "the next cell from the stage before");
  std::string text(static_cast<std::size_t>(size), '\0');
  rank_.world.receive(std::as_writable_bytes(std::span(text)), before_, kHandOverTag,
                      "a cell's summary");
  cell.travel = CellTravel::from_text(text);
  return cell;
}

GroupStates HandOver::receive(const CellGroup& group) {
  GroupStates states;
  double waited_s = 0;
  {
    const Stopwatch watch(waited_s);
    for (std::size_t i = 0; i < group.jobs.size(); ++i) states.cells.push_back(receive_cell());
    if (calibration_enters(group, states, rank_.topology.stage())) {
      states.calibration = empty_states(rank_, rank_.inputs.calibration);
      rank_.world.receive(bytes_of(states.calibration.x), before_, kHandOverTag,
                          "calibration windows");
    }
    for (std::size_t i = 0; i < group.jobs.size(); ++i) {
      if (!states.cells[i].going()) continue;
      for (const std::int64_t set : job(group, i).measure) {
        states.cells[i].evaluation.push_back(
            empty_states(rank_, rank_.inputs.evaluation[static_cast<std::size_t>(set)].windows));
        rank_.world.receive(bytes_of(states.cells[i].evaluation.back().x), before_, kHandOverTag,
                            "evaluation windows");
      }
      states.cells[i].tasks = deal_packs(rank_, job(group, i));
      for (PackStates& task : states.cells[i].tasks)
        rank_.world.receive(bytes_of(task.x), before_, kHandOverTag, "requests of a task");
    }
  }
  for (CellStates& cell : states.cells)
    cell.travel.seconds["wait"] += waited_s / static_cast<double>(states.cells.size());
  return states;
}

// At most one group's states are under way: a fast stage waits here for a slow one instead of
// filling memory.
void HandOver::wait_for_room() {
  dist::Waiting waiting(rank_.world, "the next stage to take a cell");
  while (sends_.bytes() > 0) {
    if (dist::take_ticks(rank_.world, after_, before_) > 0) waiting.restart();
    sends_.poll();
    if (sends_.bytes() > 0) waiting.pause();
  }
}

void HandOver::depart(const CellGroup& group, GroupStates states) {
  double waited_s = 0;
  {
    const Stopwatch watch(waited_s);
    wait_for_room();
  }
  struct Parcel {
    std::vector<std::string> texts;
    std::vector<std::int64_t> sizes;
    GroupStates states;
  };
  const auto parcel = std::make_shared<Parcel>();
  for (CellStates& cell : states.cells) {
    CellTravel& travel = cell.travel;
    travel.seconds["wait"] += waited_s / static_cast<double>(states.cells.size());
    travel.peak_memory_bytes = std::max(travel.peak_memory_bytes, peak_memory_bytes());
    if (std::find(travel.hosts.begin(), travel.hosts.end(), rank_.host) == travel.hosts.end())
      travel.hosts.push_back(rank_.host);
    parcel->texts.push_back(travel.to_text());
    parcel->sizes.push_back(static_cast<std::int64_t>(parcel->texts.back().size()));
  }
  parcel->states = std::move(states);
  for (std::size_t i = 0; i < group.jobs.size(); ++i) {
    sends_.send(parcel, std::as_bytes(std::span(&parcel->sizes[i], 1)), after_, kHandOverTag);
    sends_.send(parcel, std::as_bytes(std::span(parcel->texts[i])), after_, kHandOverTag);
  }
  const GroupStates& leaving = parcel->states;
  if (calibration_enters(group, leaving, rank_.topology.stage() + 1))
    sends_.send(parcel, bytes_of(leaving.calibration.x), after_, kHandOverTag);
  for (const CellStates& cell : leaving.cells)
    if (cell.going()) {
      for (const WindowStates& set : cell.evaluation)
        sends_.send(parcel, bytes_of(set.x), after_, kHandOverTag);
      for (const PackStates& task : cell.tasks)
        sends_.send(parcel, bytes_of(task.x), after_, kHandOverTag);
    }
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
