#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "kernels/error.hpp"
#include "results/file.hpp"
#include "results/hdf5.hpp"
#include "results/layout.hpp"
#include "results/parts.hpp"
#include "results/store.hpp"

namespace bitgrid::results {

namespace {

namespace fs = std::filesystem;

void check_target(const std::string& file) {
  std::error_code error;
  const fs::path folder = fs::path(file).parent_path();
  if (!folder.empty() && !fs::is_directory(folder, error))
    throw InputError(fmt::format("{}: there is no folder {}", file, folder.string()));
  if (::access(folder.empty() ? "." : folder.c_str(), W_OK) != 0)
    throw InputError(fmt::format("{}: cannot write there: {}", file, std::strerror(errno)));
  // The rename at the end would replace whatever is there, a device or somebody's notes included.
  const fs::file_status status = fs::symlink_status(file, error);
  if (fs::exists(status) && !is_results_file(file))
    throw InputError(file + ": exists and is not a results file; it is not overwritten");
}

}  // namespace

void pack(const std::string& directory, const std::string& file) {
  const Parts source = Parts::open(directory);
  if (source.packed()) throw InputError(directory + ": is packed already");
  check_target(file);
  std::vector<Part> parts;
  for (const std::string& part : source.all()) {
    verify_file(source.file(part));
    parts.push_back({source.file(part), "/" + part});
  }
  const std::string temporary = temporary_name(file);
  try {
    merge_hdf5(temporary, parts, {{"kind", std::string("packed")}, {"schema", kSchema}});
    // HDF5 may keep a failed write to itself: only what can be read back is given its digest and
    // name.
    if (const auto faults = unreadable_hdf5(temporary); !faults.empty())
      throw RunError(fmt::format("cannot write {}: read back, {}", file, faults.front()));
    publish_written(temporary, file);
  } catch (...) {
    std::error_code ignored;
    std::filesystem::remove(temporary, ignored);
    throw;
  }
}

}  // namespace bitgrid::results
