#include <fmt/format.h>

#include <filesystem>

#include "kernels/error.hpp"
#include "results/file.hpp"
#include "results/hdf5.hpp"
#include "results/layout.hpp"
#include "results/parts.hpp"
#include "results/store.hpp"

namespace bitgrid::results {

void pack(const std::string& directory, const std::string& file) {
  const Parts source = Parts::open(directory);
  if (source.packed()) throw InputError(directory + ": is packed already");
  // The rename at the end would replace whatever is there, a device or somebody's notes included.
  if (std::filesystem::exists(file) && !is_results_file(file))
    throw InputError(file + ": exists and is not a results file; it is not overwritten");
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
