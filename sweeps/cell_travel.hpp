#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "results/records.hpp"

namespace bitgrid {

// How a cell fares on its way through the stages. Dropped: it failed in an earlier wave of its
// question sets, and there is nothing more to do or to say.
enum class Outcome : std::uint8_t { going, failed, stopped, dropped };

// What travels with a cell from stage to stage beside its hidden states, per replica.
struct CellTravel {
  Outcome outcome = Outcome::going;
  std::string failure;                          // why, when failed
  std::vector<results::LinearSummary> linears;  // of the layers that this line of replicas stored
  results::Seconds seconds;
  double started_s = 0;
  std::int64_t peak_memory_bytes = 0;
  std::vector<std::string> hosts;

  std::string to_text() const;  // bit for bit: doubles travel as their bit patterns
  static CellTravel from_text(const std::string& text);
  // Takes in what another replica of the last stage brought along.
  void merge(const CellTravel& other);
};

}  // namespace bitgrid
