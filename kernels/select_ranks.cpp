#include "kernels/select_ranks.hpp"

#include <algorithm>
#include <string>

#include "kernels/error.hpp"
#include "kernels/parallel.hpp"

namespace bitgrid {
namespace {

// 31 bits, upper bits first.
struct Digit {
  int shift, bits;
  std::size_t values() const { return std::size_t{1} << bits; }
  std::size_t of(std::uint32_t key) const { return (key >> shift) & (values() - 1); }
};
constexpr Digit kDigits[] = {{20, 11}, {10, 10}, {0, 10}};
constexpr std::int32_t kNobodyAsks = -1;

// A place that is looked for: the digits so far, and the place among the keys that begin with them.
struct Search {
  std::int64_t rank = 0, below = 0;
  std::uint32_t prefix = 0;
  std::size_t slot = 0;  // which of the beginnings that somebody asks for
};

// Which beginnings of keys are asked for, and how often keys with each of them go on with which
// digit.
class Counter {
 public:
  explicit Counter(const Place& place)
      : counts_(static_cast<std::size_t>(std::max(place_threads(place), 1))) {}

  // Of the digit after those that are known.
  void count(const Place& place, const KeyTiles& keys) {
    const Digit digit = kDigits[levels_.size()];
    for (auto& counts : counts_) counts.clear();
    parallel_for(place, keys.tiles, [&](std::int64_t tile) {
      std::vector<std::uint32_t>& counts =
          counts_[static_cast<std::size_t>(parallel_thread_index())];
      counts.resize(slots_ * digit.values());
      std::vector<std::uint32_t> buffer(static_cast<std::size_t>(keys.tile_keys_max));
      const std::int64_t filled = keys.fill(tile, buffer.data());
      for (std::int64_t i = 0; i < filled; ++i) {
        const std::uint32_t key = buffer[static_cast<std::size_t>(i)];
        const std::int32_t slot = slot_of(key);
        if (slot != kNobodyAsks)
          ++counts[static_cast<std::size_t>(slot) * digit.values() + digit.of(key)];
      }
    });
  }

  // Appends the counted digit to what is searched for. Searches are ascending, and so are their
  // slots: one pass over the counts serves them all.
  void narrow(std::vector<Search>& searches) {
    const Digit digit = kDigits[levels_.size()];
    std::vector<std::int32_t> level(slots_ * digit.values(), kNobodyAsks);
    std::size_t at = 0, slots = 0;
    for (std::size_t slot = 0; slot < slots_; ++slot) {
      std::int64_t before = 0;
      for (std::size_t value = 0; value < digit.values(); ++value) {
        const std::int64_t here = found(slot * digit.values() + value);
        bool asked = false;
        for (;
             at < searches.size() && searches[at].slot == slot && searches[at].rank < before + here;
             ++at, asked = true) {
          Search& s = searches[at];
          s.prefix = (s.prefix << digit.bits) | static_cast<std::uint32_t>(value);
          s.slot = slots;
          s.rank -= before;
          s.below += before;
        }
        if (asked) level[slot * digit.values() + value] = static_cast<std::int32_t>(slots++);
        before += here;
      }
    }
    if (at < searches.size())
      throw Error("select_ranks: there are fewer keys than place " +
                  std::to_string(searches[at].rank));
    levels_.push_back(std::move(level));
    slots_ = slots;
  }

 private:
  std::int32_t slot_of(std::uint32_t key) const {
    std::int32_t slot = 0;
    for (std::size_t d = 0; d < levels_.size(); ++d) {
      slot = levels_[d][static_cast<std::size_t>(slot) * kDigits[d].values() + kDigits[d].of(key)];
      if (slot == kNobodyAsks) break;
    }
    return slot;
  }

  std::int64_t found(std::size_t at) const {
    std::int64_t sum = 0;
    for (const auto& counts : counts_)
      if (!counts.empty()) sum += counts[at];
    return sum;
  }

  std::vector<std::vector<std::uint32_t>> counts_;  // by thread: [slots, digits]
  std::vector<std::vector<std::int32_t>> levels_;   // by digit: [slots before, digits] -> slot
  std::size_t slots_ = 1;
};

}  // namespace

std::vector<RankedKey> select_ranks(const Place& place, const KeyTiles& keys,
                                    std::span<const std::int64_t> ranks) {
  BITGRID_ASSERT(std::is_sorted(ranks.begin(), ranks.end()));
  std::vector<Search> searches;
  for (const std::int64_t rank : ranks) searches.push_back({rank, 0, 0, 0});
  if (searches.empty()) return {};
  Counter counter(place);
  for (std::size_t digit = 0; digit < std::size(kDigits); ++digit) {
    counter.count(place, keys);
    counter.narrow(searches);
  }
  std::vector<RankedKey> found;
  for (const Search& s : searches) found.push_back({s.prefix, s.below});
  return found;
}

}  // namespace bitgrid
