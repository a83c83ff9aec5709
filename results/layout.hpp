#pragma once

#include <string>

#include "results/node.hpp"
#include "results/records.hpp"

namespace bitgrid::results {

// Records as HDF5 groups and back; schema.md describes the outcome. Every field is listed once, for
// both directions.

constexpr std::int64_t kSchema = 1;  // attribute "schema" of every file: other numbers are refused

// The node views the record's arrays: the record must outlive it.
Node layer_node(const CellHeader& cell, const LayerRecord& layer);
Node cell_node(const CellRecord& cell);
Node task_node(const TaskRecord& task);  // a group of cell_node's `tasks`
Node run_node(const RunRecord& run);

// Each takes the node apart, and throws Error that starts with `where` if something is missing or
// does not fit.
struct StoredLayer {
  CellHeader cell;  // without the sweep's text
  LayerRecord layer;
  std::vector<std::string> code_hashes;  // as stored, by linear
};
StoredLayer layer_of(Node node, const std::string& where);
CellRecord cell_of(const Node& node, const std::string& where);
TaskRecord task_of(const Node& node, const std::string& where);
RunRecord run_of(const Node& node, const std::string& where);

// Elements in the file: packed rows start at whole bytes.
std::vector<std::int64_t> stored_shape(const StoredArray& array);

}  // namespace bitgrid::results
