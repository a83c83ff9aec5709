#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "results/node.hpp"
#include "results/records.hpp"

namespace bitgrid::results {

// The parts of a results directory, and of a packed file, have the same names: "run",
// "cells/NAME.KEY8/cell", "cells/NAME.KEY8/layer-0017". In a directory a part is the file PART.h5,
// in a packed file it is a group.

constexpr std::size_t kKeyDigits = 8;  // of the cell's key in its directory's name
std::string cell_directory(const std::string& name, const std::string& key);  // "NAME.KEY8"
std::string cell_part(const std::string& cell);                               // of a "NAME.KEY8"
std::string layer_part(const std::string& cell, std::int64_t layer);
struct CellDirectory {
  std::string name, key8;
};
std::optional<CellDirectory> parse_cell_directory(std::string_view text);
std::optional<std::int64_t> parse_layer(std::string_view part);  // "layer-0017" -> 17
bool is_temporary(std::string_view file);                        // of ours, of whichever process

class Parts {
 public:
  static Parts directory(const std::string& path) { return Parts(path, false); }
  // A results directory, its results.h5, or a packed file. InputError if it is none of them.
  static Parts open(const std::string& path);

  const std::string& path() const { return path_; }
  bool packed() const { return packed_; }
  std::vector<std::string> cells() const;                           // every NAME.KEY8, sorted
  std::vector<std::int64_t> layers(const std::string& cell) const;  // stored, ascending
  bool has(const std::string& part) const;
  // Verified against its SHA-256 where it is a file of its own. Error naming it.
  Node read(const std::string& part) const;
  // Of the part's root, not verified.
  std::map<std::string, Attribute> attributes(const std::string& part) const;
  // Where a part lies, for messages: a file, or a group in the packed file.
  std::string label(const std::string& part) const;
  std::string file(const std::string& part) const;
  std::vector<std::string> all() const;

 private:
  Parts(std::string path, bool packed) : path_(std::move(path)), packed_(packed) {}
  std::vector<std::string> names(const std::string& cell) const;  // of the parts of a cell

  std::string path_;
  bool packed_;
};

// Throws DamagedFile unless the part says of itself what its name says: its kind, the cell's name
// and key, the layer. Error if it is of another schema. Of a sound file only: HDF5 reads it.
void check_identity(const Parts& parts, const std::string& part);

// "layer 3 is missing", "layers 3, 4 and 7 are missing": those of a finished cell's record that are
// not among `stored`; "" if all are there or none are kept.
std::string missing_layers(const CellRecord& record, const std::vector<std::int64_t>& stored);

}  // namespace bitgrid::results
