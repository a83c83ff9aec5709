#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <filesystem>
#include <functional>
#include <map>

#include "kernels/error.hpp"
#include "results/file.hpp"
#include "results/hdf5.hpp"
#include "results/layout.hpp"
#include "results/parts.hpp"
#include "results/store.hpp"

namespace bitgrid::results {
namespace {

namespace fs = std::filesystem;
using Faults = std::vector<std::string>;

// Runs fn; an Error that escapes is one more fault.
template <class Fn>
void collect(Faults& faults, Fn&& fn) {
  try {
    fn();
  } catch (const Error& e) {
    faults.push_back(e.what());
  }
}

// Unused bits behind a row's last code must be zero: there are no other ways to write the same
// codes.
void check_padding(const StoredArray& array, const std::string& where) {
  if (array.packed_bits == 0 || array.shape.empty()) return;
  const std::int64_t used = array.shape.back() * array.packed_bits % 8;
  const auto row_bytes = static_cast<std::size_t>(stored_shape(array).back());
  if (used == 0 || row_bytes == 0) return;
  for (std::size_t end = row_bytes; end <= array.data.size(); end += row_bytes)
    if (std::to_integer<int>(array.data[end - 1]) >> used != 0)
      throw Error(fmt::format("{}: row {} does not end in zero bits", where, end / row_bytes - 1));
}

std::int64_t required_bits(const QuantizedLinear& linear) {
  return std::llround(linear.bits_per_weight() * static_cast<double>(linear.rows) *
                      static_cast<double>(linear.cols));
}

void check_linear(const QuantizedLinear& linear, const std::string& code_hash,
                  const std::string& where) {
  for (const StoredArray& array : linear.arrays) check_padding(array, where + "/" + array.name);
  if (linear.code_hash() != code_hash)
    throw Error(where + ": its arrays do not have the hash stored with them");
  rebuild_weight(Place{}, linear);  // throws if arrays are missing or do not fit together
}

// What a cell's layers say about themselves, to be compared with the cell's own record.
struct LinearSeen {
  std::string code_hash;
  std::int64_t rows = 0, cols = 0, bits = 0;
};
using LayersSeen = std::map<std::pair<std::int64_t, std::string>, LinearSeen>;

void check_identity(const CellHeader& header, const std::string& cell, const std::string& where) {
  const auto named = parse_cell_directory(cell);
  if (header.name != named->name || !header.key.starts_with(named->key8))
    throw Error(fmt::format("{}: belongs to cell {}, key {:.8}", where, header.name, header.key));
}

void check_layer(const Parts& parts, const std::string& cell, std::int64_t number, LayersSeen& seen,
                 Faults& faults) {
  const std::string part = layer_part(cell, number), where = parts.label(part);
  const StoredLayer stored = layer_of(parts.read(part), where);
  check_identity(stored.cell, cell, where);
  if (stored.layer.layer != number)
    throw Error(fmt::format("{}: holds layer {}", where, stored.layer.layer));
  for (std::size_t i = 0; i < stored.layer.linears.size(); ++i) {
    const QuantizedLinear& linear = stored.layer.linears[i];
    collect(faults, [&] {
      check_linear(linear, stored.code_hashes[i], fmt::format("{}: {}", where, linear.name));
      seen[{number, linear.name}] = {stored.code_hashes[i], linear.rows, linear.cols,
                                     required_bits(linear)};
    });
  }
}

void check_metric(const MetricRecord& metric, const std::string& where) {
  if (metric.value.windows != static_cast<std::int64_t>(metric.window_sums.size()))
    throw Error(fmt::format("{}: {}: {} windows, but {} window sums", where, metric.set,
                            metric.value.windows, metric.window_sums.size()));
  const double expected = std::exp(metric.value.cross_entropy);
  const double difference = std::abs(metric.value.perplexity - expected);
  if (std::isfinite(expected) && !(difference <= 1e-9 * expected))
    throw Error(fmt::format("{}: {}: perplexity {} is not exp of cross entropy {}", where,
                            metric.set, metric.value.perplexity, metric.value.cross_entropy));
}

// A finished cell against its layers.
void check_summaries(const CellRecord& record, const LayersSeen& seen, const std::string& where,
                     Faults& faults) {
  double bits = 0, weights = 0;
  for (const LinearSummary& summary : record.linears) {
    bits += static_cast<double>(summary.stored_bits);
    weights += static_cast<double>(summary.rows) * static_cast<double>(summary.cols);
    if (!record.tensors_kept) continue;
    const std::string name = fmt::format("{}: layer {}: {}", where, summary.layer, summary.linear);
    const auto it = seen.find({summary.layer, summary.linear});
    if (it == seen.end())
      faults.push_back(name + ": its tensors are missing or damaged");
    else if (it->second.code_hash != summary.code_hash)
      faults.push_back(name +
                       ": its tensors are not those that were evaluated (code_hash differs)");
    else if (it->second.rows != summary.rows || it->second.cols != summary.cols ||
             it->second.bits != summary.stored_bits)
      faults.push_back(name + ": shape or stored bits differ from those of its tensors");
  }
  if (record.tensors_kept && seen.size() > record.linears.size())
    faults.push_back(where + ": there are tensors that it does not list");
  if (weights > 0 &&
      !(std::abs(bits / weights - record.bits_per_weight) <= 1e-9 * record.bits_per_weight))
    faults.push_back(fmt::format("{}: bits_per_weight is {}, its linears make {}", where,
                                 record.bits_per_weight, bits / weights));
}

void check_cell(const Parts& parts, const std::string& cell, const LayersSeen& seen,
                Faults& faults) {
  const std::string where = parts.label(cell_part(cell));
  const CellRecord record = cell_of(parts.read(cell_part(cell)), where);
  check_identity(record.header, cell, where);
  if (record.status == CellStatus::failed) {
    if (record.failure.empty()) faults.push_back(where + ": failed, but does not say why");
    return;
  }
  for (const MetricRecord& metric : record.metrics)
    collect(faults, [&] { check_metric(metric, where); });
  check_summaries(record, seen, where, faults);
}

// Runs fn in a process of its own and returns its lines: HDF5 may crash or hang on a damaged file.
Faults in_child(std::int64_t cpu_s_max, const std::function<Faults()>& fn) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return {};
  const pid_t child = ::fork();
  if (child == 0) {
    const rlimit limit{static_cast<rlim_t>(cpu_s_max), static_cast<rlim_t>(cpu_s_max)};
    const rlimit no_core{0, 0};
    if (::setrlimit(RLIMIT_CPU, &limit) != 0 || ::setrlimit(RLIMIT_CORE, &no_core) != 0) ::_exit(1);
    std::string text;
    try {
      for (const std::string& line : fn()) text.append(line).append("\n");
    } catch (const std::exception& e) {
      text.append(e.what()).append("\n");
    }
    std::string_view rest = text;
    while (!rest.empty()) {
      const ssize_t n = ::write(ends[1], rest.data(), rest.size());
      if (n <= 0) ::_exit(1);
      rest.remove_prefix(static_cast<std::size_t>(n));
    }
    ::_exit(0);
  }
  ::close(ends[1]);
  std::string text;
  char buffer[4096];
  for (ssize_t n; child > 0 && (n = ::read(ends[0], buffer, sizeof(buffer))) != 0;) {
    if (n > 0) text.append(buffer, static_cast<std::size_t>(n));
    if (n < 0 && errno != EINTR) break;
  }
  ::close(ends[0]);
  int status = 0;
  if (child > 0) ::waitpid(child, &status, 0);
  Faults lines;
  for (std::size_t at = 0, end; (end = text.find('\n', at)) != text.npos; at = end + 1)
    lines.push_back(text.substr(at, end - at));
  if (status != 0) lines.push_back("HDF5 crashes or hangs on it");
  return lines;
}

// The linears of a damaged file whose hash is wrong: what lies in one piece has no checksum of
// HDF5's.
Faults wrong_hashes(const Parts& parts, const std::string& part) {
  Faults faults;
  const std::string name = parts.file(part);
  const StoredLayer stored = layer_of(read_hdf5(name, parts.packed() ? "/" + part : "/"), part);
  for (std::size_t i = 0; i < stored.layer.linears.size(); ++i)
    if (stored.layer.linears[i].code_hash() != stored.code_hashes[i])
      faults.push_back(fmt::format("{}: {}: its arrays do not have their hash", part,
                                   stored.layer.linears[i].name));
  return faults;
}

// What can be said of a damaged file: the datasets that cannot be read, else the linears whose hash
// is wrong.
Faults damage_of(const Parts& parts, const std::string& file) {
  Faults hit = unreadable_hdf5(file);
  if (!hit.empty()) return hit;
  for (const std::string& part : parts.all())
    if (parts.file(part) == file && parse_layer(fs::path(part).filename().string()))
      collect(hit, [&] {
        for (const std::string& line : wrong_hashes(parts, part)) hit.push_back(line);
      });
  return hit;
}

// False, with faults, unless the file is byte for byte what was written.
bool sound(const Parts& parts, const std::string& file, Faults& faults) {
  try {
    verify_file(file);
    return true;
  } catch (const Error& e) {
    faults.push_back(e.what());
  }
  std::error_code error;
  const auto bytes = static_cast<std::int64_t>(fs::file_size(file, error));
  const std::int64_t cpu_s_max = 2 + (error ? 0 : bytes / 20'000'000);
  for (const std::string& line : in_child(cpu_s_max, [&] { return damage_of(parts, file); }))
    faults.push_back(fmt::format("{}: {}", file, line));
  return false;
}

void check_master(const Parts& parts, Faults& faults) {
  const std::string& directory = parts.path();
  const std::string file = (fs::path(directory) / "results.h5").string();
  if (!fs::exists(file) || !sound(parts, file, faults)) return;
  const auto check_links = [&](const auto& self, const Node& node) -> void {
    for (const auto& [name, target] : node.links)
      if (!fs::exists(fs::path(directory) / target))
        faults.push_back(fmt::format("{}: {} is missing", file, target));
    for (const auto& [name, child] : node.groups) self(self, child);
  };
  collect(faults, [&] { check_links(check_links, read_hdf5(file, "/")); });
}

// Every listed cell must have a record that says finished.
void check_complete(const Reader& reader, Faults& faults) {
  const std::int64_t layer_count = reader.run().layer_count;
  for (const Reader::Entry& entry : reader.cells()) {
    if (!entry.listed) continue;
    if (!entry.has_record) {
      faults.push_back(fmt::format("{}: not finished: {}{} layers are stored", entry.name,
                                   entry.layers.size(),
                                   layer_count > 0 ? fmt::format(" of {}", layer_count) : ""));
      continue;
    }
    collect(faults, [&] {
      const CellRecord record = reader.cell(entry);
      if (record.status == CellStatus::failed)
        faults.push_back(fmt::format("{}: failed: {}", entry.name, record.failure));
    });
  }
}

}  // namespace

std::vector<std::string> check(const std::string& path, bool complete) {
  Faults faults;
  const Parts parts = Parts::open(path);
  // A directory's files are verified as each is met; a packed file is one.
  const auto usable = [&](const std::string& part) {
    return parts.packed() || sound(parts, parts.file(part), faults);
  };
  if (parts.packed() && !sound(parts, parts.path(), faults)) return faults;
  bool run_sound = usable("run");
  if (run_sound) collect(faults, [&] { run_of(parts.read("run"), parts.label("run")); });
  for (const std::string& cell : parts.cells()) {
    LayersSeen seen;
    for (const std::int64_t layer : parts.layers(cell))
      if (usable(layer_part(cell, layer)))
        collect(faults, [&] { check_layer(parts, cell, layer, seen, faults); });
    if (parts.has(cell_part(cell)) && usable(cell_part(cell)))
      collect(faults, [&] { check_cell(parts, cell, seen, faults); });
  }
  if (!parts.packed()) check_master(parts, faults);
  if (complete && run_sound) collect(faults, [&] { check_complete(Reader::open(path), faults); });
  return faults;
}

}  // namespace bitgrid::results
