#pragma once

#include <string>
#include <vector>

namespace bitgrid::house {

// Reads the sources below root (kernels/, core/, dist/, results/, sweeps/, tests/) and returns one
// line per broken rule, "FILE:LINE: what is wrong"; files says how many were read. The rules are
// told in layering.cpp.
struct LayeringReport {
  std::vector<std::string> faults;
  int files = 0;
};
LayeringReport check_layering(const std::string& root);

}  // namespace bitgrid::house
