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

// Listed cells that are not finished, one line each. DamagedFile where a finished one lacks layers.
std::vector<std::string> unfinished_cells(const Reader& reader) {
  std::vector<std::string> lines;
  const std::int64_t layer_count = reader.run().layer_count;
  for (const Reader::Entry& entry : reader.cells()) {
    std::optional<CellRecord> record;
    if (entry.has_record) record = reader.cell(entry);
    if (record) {
      const std::string missing = missing_layers(*record, entry.layers);
      if (!missing.empty())
        throw DamagedFile(
            fmt::format("{}: {} is finished, but {}", reader.path(), entry.name, missing));
    }
    if (!entry.listed || (record && record->status == CellStatus::finished)) continue;
    lines.push_back(fmt::format("{} is not finished: {}{} layers are packed{}", entry.name,
                                entry.layers.size(),
                                layer_count > 0 ? fmt::format(" of {}", layer_count) : "",
                                record ? "; it failed: " + record->failure : ""));
  }
  return lines;
}

// Every file of the directory, verified, and the group that it becomes.
std::vector<Part> verified_parts(const Parts& source) {
  std::vector<Part> parts;
  for (const std::string& part : source.all()) {
    verify_file(source.file(part));
    check_identity(source, part);
    parts.push_back({source.file(part), "/" + part});
  }
  return parts;
}

}  // namespace

std::vector<std::string> pack(const std::string& directory, const std::string& file) {
  const Parts source = Parts::open(directory);
  if (source.packed()) throw InputError(directory + ": is packed already");
  check_target(file);
  std::vector<Part> parts;
  std::vector<std::string> unfinished;
  try {
    parts = verified_parts(source);
    unfinished = unfinished_cells(Reader::open(directory));
  } catch (const DamagedFile& e) {
    throw Error(fmt::format("{}; run the sweep again before packing", e.what()));
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
  return unfinished;
}

}  // namespace bitgrid::results
