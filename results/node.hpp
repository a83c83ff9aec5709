#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "kernels/dtype.hpp"

namespace bitgrid::results {

// What an HDF5 group holds, as plain values: records are turned into nodes and back without HDF5
// (layout.hpp), and nodes into files and back without knowing what they mean (hdf5.hpp).

using Attribute = std::variant<bool, std::int64_t, double, std::string, std::vector<std::int64_t>,
                               std::vector<std::string>>;

// A numeric array. `bytes` views either `storage` or memory of the record that is being written,
// which must outlive it.
struct Numbers {
  DType dtype = DType::u8;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;
  std::vector<std::byte> storage;
};

// Either numbers or a list of texts.
struct Dataset {
  std::variant<Numbers, std::vector<std::string>> content;
  std::map<std::string, Attribute> attributes;
};

struct Node {
  std::map<std::string, Attribute> attributes;
  std::map<std::string, Dataset> datasets;
  std::map<std::string, Node> groups;
  std::map<std::string, std::string>
      links;  // name -> file (relative): the root group of another file
};

}  // namespace bitgrid::results
