#include <fmt/format.h>

#include "kernels/error.hpp"
#include "results/fields.hpp"
#include "results/layout.hpp"

namespace bitgrid::results {
namespace {

template <class Io, class Diagnostics>
void diagnostics_fields(Io& io, Diagnostics& d) {
  io("loss", d.loss);
  io("relative_output_error", d.relative_output_error);
  io("relative_weight_error", d.relative_weight_error);
  io("damping", d.damping);
  io("damping_attempts", d.damping_attempts);
  io("fallback", d.fallback);
  io("dead_columns", d.dead_columns);
  io("factor_s", d.factor_s);
  io("solve_s", d.solve_s);
}

template <class Io, class Linear>
void linear_fields(Io& io, Linear& l) {
  io("format", l.format);
  io("rows", l.rows);
  io("cols", l.cols);
  io("bits", l.bits);
  io("group", l.group);
  diagnostics_fields(io, l.diagnostics);
}

template <class Io, class Layer>
void layer_fields(Io& io, Layer& l) {
  io("layer", l.layer);
  io("host", l.host);
  io("rank", l.rank);
  io("started_s", l.started_s);
  io("finished_s", l.finished_s);
  io.seconds(l.seconds);
}

// The arrays as datasets of a node, and their order.
void add_arrays(const std::vector<StoredArray>& arrays, Node& node) {
  std::vector<std::string> names;
  for (const StoredArray& array : arrays) {
    names.push_back(array.name);
    Dataset& dataset = node.datasets[array.name];
    Numbers numbers;
    numbers.dtype = array.dtype;
    numbers.shape = stored_shape(array);
    numbers.bytes = array.data;
    dataset.content = std::move(numbers);
    dataset.attributes["shape"] = array.shape;
    dataset.attributes["packed_bits"] = static_cast<std::int64_t>(array.packed_bits);
    dataset.attributes["required"] = array.required;
  }
  BITGRID_ASSERT(node.datasets.size() == arrays.size());
  Writer io{node};
  io("arrays", names);
}

Node linear_node(const QuantizedLinear& linear) {
  Node node;
  Writer io{node};
  linear_fields(io, linear);
  io("code_hash", linear.code_hash());
  add_arrays(linear.arrays, node);
  return node;
}

StoredArray array_of(const std::string& name, Dataset& dataset, const std::string& where) {
  StoredArray array;
  auto* numbers = std::get_if<Numbers>(&dataset.content);
  if (numbers == nullptr) throw Error(where + ": holds texts, not numbers");
  Node attributes;
  attributes.attributes = dataset.attributes;
  Loader io{attributes, where};
  array.name = name;
  array.dtype = numbers->dtype;
  io("shape", array.shape);
  io("packed_bits", array.packed_bits);
  io("required", array.required);
  if (array.packed_bits < 0 || array.packed_bits > 8 ||
      (array.packed_bits > 0 && array.dtype != DType::u8))
    throw Error(where + ": packed_bits must be 0, or 1 to 8 on u8");
  if (stored_shape(array) != numbers->shape)
    throw Error(fmt::format("{}: is [{}], its attributes say [{}]", where,
                            fmt::join(numbers->shape, ", "), fmt::join(stored_shape(array), ", ")));
  array.data = std::move(numbers->storage);
  return array;
}

std::vector<StoredArray> arrays_of(Node& node, const std::string& where) {
  std::vector<StoredArray> arrays;
  std::vector<std::string> names;
  Loader io{node, where};
  io("arrays", names);
  for (const std::string& array : names) {
    const auto it = node.datasets.find(array);
    if (it == node.datasets.end())
      throw Error(fmt::format("{}: dataset {} is missing", where, array));
    arrays.push_back(array_of(array, it->second, where + "/" + array));
  }
  return arrays;
}

QuantizedLinear linear_of(const std::string& name, Node& node, std::string& code_hash,
                          const std::string& where) {
  QuantizedLinear linear;
  linear.name = name;
  Loader io{node, where};
  linear_fields(io, linear);
  io("code_hash", code_hash);
  linear.arrays = arrays_of(node, where);
  return linear;
}

}  // namespace

std::vector<std::int64_t> stored_shape(const StoredArray& array) {
  std::vector<std::int64_t> shape = array.shape;
  if (array.packed_bits > 0 && !shape.empty())
    shape.back() = (shape.back() * array.packed_bits + 7) / 8;
  return shape;
}

Node layer_node(const CellHeader& cell, const LayerRecord& layer) {
  Node node = root_node("layer");
  Writer io{node};
  header_fields(io, cell);
  layer_fields(io, layer);
  node.groups["recipe"] = recipe_node(cell.recipe);
  std::vector<std::string> names;
  for (const QuantizedLinear& linear : layer.linears) {
    names.push_back(linear.name);
    node.groups["linears"].groups[linear.name] = linear_node(linear);
  }
  io("linears", names);
  add_arrays(layer.arrays, node.groups["layer"]);
  return node;
}

StoredLayer layer_of(Node node, const std::string& where) {
  StoredLayer stored;
  Loader io{node, where};
  check_kind(io, "layer");
  header_fields(io, stored.cell);
  layer_fields(io, stored.layer);
  stored.cell.recipe = recipe_of(io.group("recipe"), where + ": recipe");
  std::vector<std::string> names;
  io("linears", names);
  io.group("layer");
  stored.layer.arrays = arrays_of(node.groups["layer"], where + ": layer");
  if (!names.empty()) io.group("linears");
  for (const std::string& name : names) {
    const auto it = node.groups["linears"].groups.find(name);
    if (it == node.groups["linears"].groups.end())
      throw Error(fmt::format("{}: {} is missing", where, name));
    std::string& code_hash = stored.code_hashes.emplace_back();
    stored.layer.linears.push_back(linear_of(name, it->second, code_hash, where + ": " + name));
  }
  return stored;
}

}  // namespace bitgrid::results
