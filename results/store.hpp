#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "results/records.hpp"

namespace bitgrid::results {

// A sweep's output directory; schema.md says what lies in the files.
//
//   run.h5                           the run: sweep text, model, listed cells, counters of the
//   ranks cells/NAME.KEY8/layer-0017.h5    one (cell, layer): the quantized tensors and their
//   diagnostics cells/NAME.KEY8/cell.h5          one cell: status, metrics, diagnostics, hashes,
//   provenance results.h5                       external links to all of the above; can be rebuilt
//   at any time lock                             held (flock) by the sweep that writes here
//
// A file is made whole in memory, written under a temporary name, fsynced and renamed: it is there
// and sound, or not there. Each has one writer. Write errors (a full disk) are RunErrors naming
// file and reason.
class Store {
 public:
  // Makes the directory if need be, takes the lock, removes stale temporary files. InputError if
  // the directory is not writable, belongs to another model, or another sweep holds the lock.
  static Store create(const std::string& directory, const std::string& model_fingerprint);
  // The same directory for the other ranks: no lock, no cleaning.
  static Store join(const std::string& directory);
  Store(Store&&) noexcept;
  Store& operator=(Store&&) noexcept;
  ~Store();

  const std::string& directory() const;
  void write_run(const RunRecord& run);
  void write_layer(const CellHeader& cell, const LayerRecord& layer);
  void write_cell(const CellRecord& cell);
  void drop_layers(const CellHeader& cell);  // keep = "metrics"
  // Stored cells that are not listed, by their directories' names "NAME.KEY8"; prune removes them.
  std::vector<std::string> unlisted(const std::vector<std::string>& listed_keys) const;
  std::vector<std::string> prune(const std::vector<std::string>& listed_keys);
  void rebuild_master();

  // For a sweep that goes on with what is there: a file that is damaged counts as missing and is
  // made again. stored_parts: a cell's files, as parts ("cells/NAME.KEY8/layer-0017"). fault_of:
  // one line that names the file, if it is not what was written there; thread-safe. An Error if it
  // cannot be read at all.
  std::vector<std::string> stored_parts(const CellHeader& cell) const;
  std::optional<std::string> fault_of(const std::string& part) const;
  void remove_part(const std::string& part);
  // Of the files that every sweep writes anew anyway, those that create() found damaged; one line
  // each.
  const std::vector<std::string>& faults_found() const;

  // What is there already. A file that is present but not readable is an Error naming it.
  std::vector<std::int64_t> stored_layers(const CellHeader& cell) const;  // ascending
  LayerRecord read_layer(const CellHeader& cell, std::int64_t layer) const;
  std::optional<CellRecord> read_cell(const CellHeader& cell) const;

 private:
  struct State;
  explicit Store(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Reads a results directory or a packed file, also while a sweep is writing.
class Reader {
 public:
  // InputError if `path` is neither.
  static Reader open(const std::string& path);
  Reader(Reader&&) noexcept;
  Reader& operator=(Reader&&) noexcept;
  ~Reader();

  const std::string& path() const;
  // Who writes there now: "pid 7 on n1"; "" if nobody does, nothing if that cannot be told.
  std::optional<std::string> writer() const;
  RunRecord run() const;
  struct Entry {
    std::string name, key;
    bool listed = true;                // in the sweep file of the last run
    std::vector<std::int64_t> layers;  // stored
    bool has_record = false;           // cell.h5: finished or failed
  };
  std::vector<Entry> cells() const;  // listed ones first, in table order
  LayerRecord layer(const Entry& cell, std::int64_t layer) const;
  CellRecord cell(const Entry& cell) const;

 private:
  struct State;
  explicit Reader(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// `bitgrid check`: every file is verified and read, shapes, code ranges and hashes compared.
// Returns one line per fault, with its remedy; empty if all is sound. complete: every listed cell
// must also be finished.
std::vector<std::string> check(const std::string& path, bool complete);

// `bitgrid diff`: codes, scales and all other required arrays, statistics-derived choices (damping,
// order, dead columns, loss) and metrics, bit for bit, of the listed cells; not times, hosts or
// ranks. One line per difference.
std::vector<std::string> diff(const std::string& a, const std::string& b);

// `bitgrid pack`: one self-contained .h5 with the same groups as results.h5. Every part is
// verified, and a finished cell must have all of its layers. One line for each listed cell that is
// not finished.
std::vector<std::string> pack(const std::string& directory, const std::string& file);

}  // namespace bitgrid::results
