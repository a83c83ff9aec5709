#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <map>
#include <set>

#include "kernels/error.hpp"
#include "results/file.hpp"
#include "results/hdf5.hpp"
#include "results/layout.hpp"
#include "results/parts.hpp"
#include "results/rows.hpp"
#include "results/store.hpp"
#include "results/task_scores.hpp"

namespace bitgrid::results {
namespace {

namespace fs = std::filesystem;

// What to do: a sweep that is started again makes missing and damaged files anew, but does not look
// for contradictions inside of sound ones. A packed file is one file, whatever is wrong in it.
constexpr const char* kRunAgain = "; run the sweep again, which makes it again";
constexpr const char* kDelete = "; delete it and run the sweep again";
constexpr const char* kPackAgain = "; pack the output directory again";

class Faults {
 public:
  explicit Faults(bool packed) : packed_(packed) {}
  void add(const std::string& text, const char* remedy) {
    lines_.push_back(text + (packed_ && *remedy != '\0' ? kPackAgain : remedy));
  }
  // Runs fn; false if an Error escapes, which is one more fault. A damaged file is made again by a
  // sweep, other things are up to `remedy`.
  template <class Fn>
  bool none_in(const char* remedy, Fn&& fn) {
    try {
      fn();
      return true;
    } catch (const DamagedFile& e) {
      add(e.what(), kRunAgain);
    } catch (const Error& e) {
      add(e.what(), remedy);
    }
    return false;
  }
  std::vector<std::string> take() { return std::move(lines_); }

 private:
  bool packed_;
  std::vector<std::string> lines_;
};

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
struct LayersSeen {
  std::map<std::pair<std::int64_t, std::string>, LinearSeen> linears;
  std::vector<std::int64_t> stored;    // all that are there
  std::string missing;                 // of a finished cell, as text
  std::set<std::int64_t> with_faults;  // reported already; the cell's record cannot add to that
};

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

void check_comparison(const MetricRecord& metric, const std::string& where) {
  if (!metric.compared()) return;
  if (metric.window_divergences.size() != metric.window_sums.size() ||
      metric.window_agreements.size() != metric.window_sums.size())
    throw Error(fmt::format("{}: {}: {} windows, but {} divergences and {} agreements", where,
                            metric.set, metric.window_sums.size(), metric.window_divergences.size(),
                            metric.window_agreements.size()));
  for (std::size_t w = 0; w < metric.window_sums.size(); ++w)
    if (!(metric.window_divergences[w] >= 0) || metric.window_agreements[w] < 0 ||
        metric.window_agreements[w] >= metric.length)
      throw Error(fmt::format("{}: {}: window {}: divergence {} and {} agreements of {}", where,
                              metric.set, w, metric.window_divergences[w],
                              metric.window_agreements[w], metric.length - 1));
  const Comparison made =
      comparison_of(metric.window_divergences, metric.window_agreements, metric.length);
  const auto differs = [](double a, double b) { return !(std::abs(a - b) <= 1e-9 * std::abs(b)); };
  if (differs(metric.comparison.divergence, made.divergence) ||
      differs(metric.comparison.agreement, made.agreement))
    throw Error(fmt::format("{}: {}: divergence {} and agreement {}, its windows make {} and {}",
                            where, metric.set, metric.comparison.divergence,
                            metric.comparison.agreement, made.divergence, made.agreement));
}

class Checker {
 public:
  Checker(const Parts& parts, bool complete)
      : parts_(parts), complete_(complete), faults_(parts.packed()) {}

  std::vector<std::string> run() {
    bool listed = check_run();
    for (const std::string& cell : parts_.cells()) check_cell(cell);
    if (!parts_.packed()) check_master();
    if (complete_ && listed)
      faults_.none_in("", [&] { check_complete(Reader::open(parts_.path())); });
    return faults_.take();
  }

 private:
  // Whether a part is, byte for byte, what was written there. The digest of a packed file has been
  // verified as a whole.
  bool usable(const std::string& part) {
    return faults_.none_in("", [&] {
      if (!parts_.packed()) verify_file(parts_.file(part));
      check_identity(parts_, part);
    });
  }

  bool check_run() {
    if (!parts_.has("run")) {
      faults_.add(parts_.label("run") + ": is missing", kRunAgain);
      return false;
    }
    return usable("run") &&
           faults_.none_in(kRunAgain, [&] { run_of(parts_.read("run"), parts_.label("run")); });
  }

  void check_cell(const std::string& cell) {
    LayersSeen seen;
    seen.stored = parts_.layers(cell);
    for (const std::int64_t layer : seen.stored) {
      bool sound = usable(layer_part(cell, layer));
      if (sound) sound = faults_.none_in(kDelete, [&] { check_layer(cell, layer, seen); });
      if (!sound) seen.with_faults.insert(layer);
    }
    const std::string part = cell_part(cell);
    if (!parts_.has(part)) return;
    bool sound = usable(part);
    if (sound) sound = faults_.none_in(kDelete, [&] { check_record(part, seen); });
    if (!sound) records_with_faults_.insert(cell);
    // A link to what is missing is the same fault once more.
    if (!seen.missing.empty()) cells_without_layers_.insert(cell);
  }

  void check_layer(const std::string& cell, std::int64_t number, LayersSeen& seen) {
    const std::string part = layer_part(cell, number), where = parts_.label(part);
    const StoredLayer stored = layer_of(parts_.read(part), where);
    for (const StoredArray& array : stored.layer.arrays)
      check_padding(array, fmt::format("{}: layer/{}", where, array.name));
    for (std::size_t i = 0; i < stored.layer.linears.size(); ++i) {
      const QuantizedLinear& linear = stored.layer.linears[i];
      check_linear(linear, stored.code_hashes[i], fmt::format("{}: {}", where, linear.name));
      seen.linears[{number, linear.name}] = {stored.code_hashes[i], linear.rows, linear.cols,
                                             required_bits(linear)};
    }
  }

  void check_record(const std::string& part, LayersSeen& seen) {
    const std::string where = parts_.label(part);
    const CellRecord record = cell_of(parts_.read(part), where);
    if (record.status == CellStatus::failed) {
      if (record.failure.empty()) throw Error(where + ": failed, but does not say why");
      return;
    }
    for (const MetricRecord& metric : record.metrics)
      faults_.none_in(kDelete, [&] {
        check_metric(metric, where);
        check_comparison(metric, where);
      });
    for (const TaskRecord& task : record.tasks)
      for (const std::string& fault : task_faults(task))
        faults_.add(fmt::format("{}: task {}: {}", where, task.task, fault), kDelete);
    seen.missing = missing_layers(record, seen.stored);
    if (!seen.missing.empty()) faults_.add(fmt::format("{}: {}", where, seen.missing), kRunAgain);
    check_summaries(record, seen, where);
  }

  // A finished cell against its layers; at most one line for each layer that does not fit.
  void check_summaries(const CellRecord& record, const LayersSeen& seen, const std::string& where) {
    double bits = 0, weights = 0;
    std::size_t compared = 0;
    std::set<std::int64_t> named = seen.with_faults;
    for (const LinearSummary& summary : record.linears) {
      bits += static_cast<double>(summary.stored_bits);
      weights += static_cast<double>(summary.rows) * static_cast<double>(summary.cols);
      const bool stored = std::binary_search(seen.stored.begin(), seen.stored.end(), summary.layer);
      if (!record.tensors_kept || !stored) continue;
      ++compared;
      const std::string fault = fault_of(summary, seen);
      if (!fault.empty() && named.insert(summary.layer).second)
        faults_.add(
            fmt::format("{}: layer {}: {}: {}", where, summary.layer, summary.linear, fault),
            kDelete);
    }
    if (record.tensors_kept && named.empty() && seen.linears.size() > compared)
      faults_.add(where + ": there are tensors that it does not list", kDelete);
    if (weights > 0 &&
        !(std::abs(bits / weights - record.bits_per_weight) <= 1e-9 * record.bits_per_weight))
      faults_.add(fmt::format("{}: bits_per_weight is {}, its linears make {}", where,
                              record.bits_per_weight, bits / weights),
                  kDelete);
  }

  static std::string fault_of(const LinearSummary& summary, const LayersSeen& seen) {
    const auto it = seen.linears.find({summary.layer, summary.linear});
    if (it == seen.linears.end()) return "its tensors are missing";
    if (it->second.code_hash != summary.code_hash)
      return "its tensors are not those that were evaluated (code_hash differs)";
    if (it->second.rows != summary.rows || it->second.cols != summary.cols ||
        it->second.bits != summary.stored_bits)
      return "shape or stored bits differ from those of its tensors";
    return "";
  }

  // Links of the master that lead nowhere are one fault: it is out of date.
  void check_master() {
    const std::string file = (fs::path(parts_.path()) / "results.h5").string();
    if (!fs::exists(file)) return;
    std::vector<std::string> dangling;
    const auto collect = [&](const auto& self, const Node& node) -> void {
      for (const auto& [name, target] : node.links)
        if (target != "run.h5" && !fs::exists(fs::path(parts_.path()) / target) &&
            !cells_without_layers_.contains(fs::path(target).parent_path().filename().string()))
          dangling.push_back(target);
      for (const auto& [name, child] : node.groups) self(self, child);
    };
    faults_.none_in(kRunAgain, [&] {
      verify_file(file);
      collect(collect, read_hdf5(file, "/"));
    });
    if (!dangling.empty())
      faults_.add(fmt::format("{}: {} of its links lead nowhere, the first to {}", file,
                              dangling.size(), dangling.front()),
                  kRunAgain);
  }

  // Every listed cell must have a record that says finished, with every listed set and task.
  void check_complete(const Reader& reader) {
    const RunRecord run = reader.run();
    for (const Reader::Entry& entry : reader.cells()) {
      if (!entry.listed || records_with_faults_.contains(cell_directory(entry.name, entry.key)))
        continue;
      if (!entry.has_record)
        faults_.add(not_finished(entry, run), "; run the sweep again");
      else
        faults_.none_in("", [&] { check_finished(reader.cell(entry), run); });
    }
  }

  static std::string not_finished(const Reader::Entry& entry, const RunRecord& run) {
    if (entry.layers.empty()) return entry.name + ": not finished: nothing is stored";
    return fmt::format("{}: not finished: {}{} layers are stored", entry.name, entry.layers.size(),
                       run.layer_count > 0 ? fmt::format(" of {}", run.layer_count) : "");
  }

  void check_finished(const CellRecord& record, const RunRecord& run) {
    if (record.status == CellStatus::failed) {
      faults_.add(fmt::format("{}: failed: {}", record.header.name, record.failure),
                  "; run the sweep again, which tries it again");
      return;
    }
    const bool compares = !run.compared_with.empty() && run.compared_with[0] != record.header.key;
    for (std::size_t set = 0; set < run.sets.size(); ++set) {
      const MetricRecord* metric = find_metric(record, run, set);
      if (metric == nullptr || (compares && !metric->compared()))
        faults_.add(fmt::format("{}: not {} {}", record.header.name,
                                metric == nullptr ? "measured on"
                                                  : "compared with the unquantized model on",
                                run.sets[set]),
                    "; run the sweep again");
    }
    for (std::size_t task = 0; task < run.tasks.size(); ++task)
      if (find_task(record, run, task) == nullptr)
        faults_.add(fmt::format("{}: not asked {}", record.header.name, run.tasks[task]),
                    "; run the sweep again");
  }

  const Parts& parts_;
  bool complete_;
  Faults faults_;
  std::set<std::string> records_with_faults_, cells_without_layers_;  // "NAME.KEY8"
};

// What is wrong with a file that was given by its name: a packed file is verified before HDF5 sees
// it. InputError if it never was one of ours.
std::optional<std::string> fault_of_file(const std::string& path) {
  try {
    verify_file(path);
    return std::nullopt;
  } catch (const DamagedFile& e) {
    if (!may_have_been_results_file(path)) throw InputError(e.what());
    const std::string part = fs::path(path).stem().string();
    const bool of_directory =
        part == "run" || part == "cell" || part == "results" || parse_layer(part);
    return e.what() + std::string(of_directory ? kRunAgain : kPackAgain);
  } catch (const Error& e) {
    throw InputError(e.what());
  }
}

// The directory that a results.h5 belongs to; any other path is itself.
std::string without_master(const std::string& path) {
  const fs::path parent = fs::path(path).parent_path();
  const fs::path folder = parent.empty() ? fs::path(".") : parent;
  return fs::path(path).filename() == "results.h5" && fs::exists(folder / "run.h5")
             ? folder.string()
             : path;
}

}  // namespace

std::vector<std::string> check(const std::string& path, bool complete) {
  const std::string where = without_master(path);
  if (fs::is_directory(where)) {
    // Without run.h5 a directory is ours if cells lie in it.
    const bool ours =
        fs::exists(fs::path(where) / "run.h5") || !Parts::directory(where).cells().empty();
    return Checker(ours ? Parts::directory(where) : Parts::open(where), complete).run();
  }
  if (fs::exists(where))
    if (const auto fault = fault_of_file(where)) return {*fault};
  return Checker(Parts::open(where), complete).run();
}

}  // namespace bitgrid::results
