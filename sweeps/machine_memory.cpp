#include "sweeps/machine_memory.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <limits>

namespace bitgrid {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kUnlimited = std::numeric_limits<std::int64_t>::max();

std::int64_t available_bytes(const std::string& root) {
  std::ifstream in(root + "/proc/meminfo");
  for (std::string key; in >> key;) {
    if (std::int64_t kib = 0; key == "MemAvailable:" && in >> kib) return kib << 10;
    in.ignore(kUnlimited, '\n');
  }
  return kUnlimited;
}

// The smallest limit of the group and of those around it. "max", which is no number, is none.
std::int64_t group_limit(const fs::path& hierarchy, fs::path group, const char* file) {
  std::int64_t least = kUnlimited;
  for (group = group.relative_path();; group = group.parent_path()) {
    std::ifstream in(hierarchy / group / file);
    if (std::int64_t bytes = 0; in >> bytes && bytes > 0) least = std::min(least, bytes);
    if (group.empty()) return least;
  }
}

std::int64_t control_group_limit(const std::string& root) {
  std::int64_t least = kUnlimited;
  std::ifstream in(root + "/proc/self/cgroup");
  for (std::string line; std::getline(in, line);) {  // "4:memory:/job" or, in version 2, "0::/job"
    const std::size_t first = line.find(':');
    const std::size_t second = first == line.npos ? first : line.find(':', first + 1);
    if (second == line.npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const fs::path group = line.substr(second + 1);
    const std::string base = root + "/sys/fs/cgroup";
    if (controllers == ",,") least = std::min(least, group_limit(base, group, "memory.max"));
    if (controllers.find(",memory,") != controllers.npos)
      least = std::min(least, group_limit(base + "/memory", group, "memory.limit_in_bytes"));
  }
  return least;
}

}  // namespace

std::int64_t machine_memory(const std::string& root) {
  const std::int64_t bytes = std::min(available_bytes(root), control_group_limit(root));
  return bytes == kUnlimited ? 0 : bytes;
}

}  // namespace bitgrid
