#pragma once

#include <cstdint>
#include <string>

namespace bitgrid {

// Bytes that the processes of this machine may take on top of what is in use: what the kernel calls
// available, or the limit of a control group around this process where that is less. 0: not known.
// root stands before /proc and /sys.
std::int64_t machine_memory(const std::string& root = "");

}  // namespace bitgrid
