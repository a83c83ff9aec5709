#include "sweeps/waves.hpp"

#include <algorithm>

namespace bitgrid {
namespace {

// Packs that are together in one wave.
struct Load {
  std::int64_t tokens = 0, largest = 0;
  Load plus(std::int64_t pack) const { return {tokens + pack, std::max(largest, pack)}; }
};

Load plus_all(Load load, std::span<const std::int64_t> packs) {
  for (const std::int64_t pack : packs) load = load.plus(pack);
  return load;
}

class WaveFiller {
 public:
  explicit WaveFiller(const WaveRules& rules) : rules_(rules) {
    if (rules.first_room) waves_.emplace_back();
  }

  void add(const TaskPacks& set) {
    const bool fresh_wave = !waves_.empty() && waves_.back().empty();
    if (waves_.empty() || (rules_.set_by_set && !fresh_wave) || !fits(plus_all(load_, set.tokens)))
      next();
    const auto count = std::ssize(set.tokens);
    std::int64_t first = 0;
    do {
      std::int64_t end = first;
      for (; end < count; ++end) {
        const Load more = load_.plus(set.tokens[static_cast<std::size_t>(end)]);
        const bool at_least_one = end == first && waves_.back().empty();
        if (!fits(more) && !at_least_one) break;
        load_ = more;
      }
      waves_.back().push_back({set.task, first, end});
      first = end;
      if (first < count) next();
    } while (first < count);
  }

  std::vector<Wave> take() { return std::move(waves_); }

 private:
  bool fits(const Load& load) const {
    const bool first = rules_.first_room && waves_.size() == 1;
    return dealt_tokens(load.tokens, load.largest, rules_.replicas) <=
           (first ? *rules_.first_room : rules_.room);
  }
  // An empty wave that asks only is as good as a new one.
  void next() {
    load_ = {};
    const bool usable =
        !waves_.empty() && waves_.back().empty() && !(rules_.first_room && waves_.size() == 1);
    if (!usable) waves_.emplace_back();
  }

  const WaveRules& rules_;
  std::vector<Wave> waves_;
  Load load_;  // of the last wave
};

}  // namespace

std::int64_t dealt_tokens(std::int64_t tokens, std::int64_t largest_pack, int replicas) {
  return std::min(tokens, tokens / replicas + largest_pack);
}

std::int64_t wave_tokens(const Wave& wave, std::span<const TaskPacks> sets, int replicas) {
  Load load;
  for (const TaskPart& part : wave)
    for (const TaskPacks& set : sets)
      if (set.task == part.task)
        load = plus_all(
            load, set.tokens.subspan(static_cast<std::size_t>(part.first_pack),
                                     static_cast<std::size_t>(part.pack_end - part.first_pack)));
  return dealt_tokens(load.tokens, load.largest, replicas);
}

std::vector<Wave> split_waves(std::span<const TaskPacks> sets, const WaveRules& rules) {
  WaveFiller filler(rules);
  for (const TaskPacks& set : sets) filler.add(set);
  return filler.take();
}

}  // namespace bitgrid
