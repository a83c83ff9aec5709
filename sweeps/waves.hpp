#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

namespace bitgrid {

// Question sets are asked in waves where their hidden states do not fit in memory together, or
// where each is to be stored as soon as it is scored: packs of one wave go through the layers
// together. Numbers do not depend on how packs are spread over waves.

// Packs [first_pack, pack_end) of one question set.
struct TaskPart {
  std::int64_t task = 0;  // index into Inputs::tasks
  std::int64_t first_pack = 0, pack_end = 0;
  bool operator==(const TaskPart&) const = default;
};
using Wave = std::vector<TaskPart>;  // in the order of the sets

// Tokens of packs that a rank has room for beside what else a job has with it.
struct PackRooms {
  static constexpr std::int64_t kNoLimit = std::numeric_limits<std::int64_t>::max();
  std::int64_t calibrating = kNoLimit;  // its calibration and perplexity windows
  std::int64_t shared = kNoLimit;       // likewise, of each of the cells that go together
  std::int64_t measuring = kNoLimit;    // its perplexity windows
  std::int64_t alone = kNoLimit;        // nothing
  int replicas = 1;                     // that packs are dealt to
};

struct TaskPacks {
  std::int64_t task = 0;
  std::span<const std::int64_t> tokens;  // of each pack
};

struct WaveRules {
  bool set_by_set = false;  // no two sets in one wave
  // Of the first wave, whose job does more than asking: what does not fit is left to the others.
  // None: there is no such job, and every wave has a pack at least.
  std::optional<std::int64_t> first_room;
  std::int64_t room = PackRooms::kNoLimit;  // of every other wave
  int replicas = 1;
};

// The sets in order, each in one piece where it fits into a wave. The first wave may be empty if
// there is a first_room; no sets: one empty wave with it, none without.
std::vector<Wave> split_waves(std::span<const TaskPacks> sets, const WaveRules& rules);

// Packs are dealt by their cost: nobody has more than a share and the largest one.
std::int64_t dealt_tokens(std::int64_t tokens, std::int64_t largest_pack, int replicas);

// dealt_tokens of a wave.
std::int64_t wave_tokens(const Wave& wave, std::span<const TaskPacks> sets, int replicas);

}  // namespace bitgrid
