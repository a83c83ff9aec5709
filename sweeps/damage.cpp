#include "sweeps/damage.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "kernels/parallel.hpp"
#include "sweeps/layer_source.hpp"

namespace bitgrid {
namespace {

// Ranks meet after every round, so that nobody waits for terabytes at once.
constexpr std::size_t kFilesPerRound = 16;  // of one rank

}  // namespace

std::vector<Damage> find_damage(const dist::Comm& world, const Place& place,
                                const results::Store& store, std::vector<std::string> parts) {
  parts = nlohmann::json::parse(
              world.broadcast_text(nlohmann::json(parts).dump(), 0, "files to verify"))
              .get<std::vector<std::string>>();
  const auto ranks = static_cast<std::size_t>(world.size());
  const std::size_t round = ranks * kFilesPerRound;
  std::vector<Damage> damaged;
  for (std::size_t begin = 0; begin < parts.size(); begin += round) {
    const std::size_t end = std::min(begin + round, parts.size());
    std::vector<std::size_t> own;
    for (std::size_t i = begin + static_cast<std::size_t>(world.rank()); i < end; i += ranks)
      own.push_back(i);
    std::vector<std::optional<std::string>> faults(own.size());
    const auto failure = dist::attempt([&] {
      parallel_for(place, static_cast<std::int64_t>(own.size()), [&](std::int64_t i) {
        const auto at = static_cast<std::size_t>(i);
        faults[at] = store.fault_of(parts[own[at]]);
      });
    });
    agree_or_throw(world, failure);
    nlohmann::json found = nlohmann::json::array();
    for (std::size_t i = 0; i < own.size(); ++i)
      if (faults[i]) found.push_back({own[i], *faults[i]});
    std::vector<std::pair<std::size_t, std::string>> all;
    for (const std::string& text : world.gather_text(found.dump(), 0, "damaged files"))
      for (const auto& item : nlohmann::json::parse(text)) all.emplace_back(item[0], item[1]);
    std::sort(all.begin(), all.end());
    for (auto& [i, fault] : all) damaged.push_back({parts[i], std::move(fault)});
  }
  return damaged;
}

}  // namespace bitgrid
