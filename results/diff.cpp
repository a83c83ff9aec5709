#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <map>
#include <set>

#include "kernels/error.hpp"
#include "results/diff_task.hpp"
#include "results/layout.hpp"
#include "results/parts.hpp"
#include "results/store.hpp"

namespace bitgrid::results {
namespace {

using Lines = std::vector<std::string>;

// What two runs of one sweep may differ in: when, where and how fast, which build, and the sweep's
// other lines. All else in a file is compared, whatever it is.
const std::set<std::string> kNotCompared = {
    "host",   "hosts",   "shared_with",       "rank",         "started_s",   "finished_s",
    "wall_s", "version", "peak_memory_bytes", "factor_s",     "solve_s",     "sweep_text",
    "blas",   "failure", "tensors_kept",      "method_title", "calibration", "set"};

// The groups of times. A dataset of that name is a plane of codes (format "billm").
const std::set<std::string> kGroupsNotCompared = {"seconds"};

// Attributes that follow from what is compared anyway.
const std::set<std::string> kDerived = {"code_hash", "linears", "arrays"};

// What every file of a cell says of the sweep it was made by: compared once, not file by file.
constexpr const char* kSettings[] = {"model_fingerprint", "calibration_fingerprint", "shards",
                                     "seed"};

std::string text_of(const Attribute& value) {
  return std::visit(
      [](const auto& v) {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::is_same_v<T, std::string>)
          return v;
        else if constexpr (std::is_same_v<T, bool> || std::is_arithmetic_v<T>)
          return fmt::format("{}", v);
        else
          return fmt::format("[{}]", fmt::join(v, ", "));
      },
      value);
}

bool same(const Attribute& a, const Attribute& b) {
  const auto* x = std::get_if<double>(&a);
  const auto* y = std::get_if<double>(&b);
  if (x != nullptr && y != nullptr)  // by bits: a NaN is equal to itself
    return std::bit_cast<std::uint64_t>(*x) == std::bit_cast<std::uint64_t>(*y);
  return a == b;
}

void diff_numbers(const Numbers& a, const Numbers& b, const std::string& where, Lines& lines) {
  if (a.dtype != b.dtype || a.shape != b.shape) {
    lines.push_back(fmt::format("{}: {} [{}] against {} [{}]", where, dtype_name(a.dtype),
                                fmt::join(a.shape, ", "), dtype_name(b.dtype),
                                fmt::join(b.shape, ", ")));
    return;
  }
  const auto size = static_cast<std::size_t>(dtype_bytes(a.dtype));
  std::size_t count = 0, first = 0;
  for (std::size_t i = 0; i * size < a.bytes.size(); ++i) {
    const auto x = a.bytes.subspan(i * size, size), y = b.bytes.subspan(i * size, size);
    if (!std::equal(x.begin(), x.end(), y.begin()) && count++ == 0) first = i;
  }
  if (count > 0)
    lines.push_back(fmt::format("{}: {} of {} elements differ, the first at {}", where, count,
                                a.bytes.size() / size, first));
}

void diff_texts(const std::vector<std::string>& a, const std::vector<std::string>& b,
                const std::string& where, Lines& lines) {
  if (a.size() != b.size()) {
    lines.push_back(fmt::format("{}: {} entries against {}", where, a.size(), b.size()));
    return;
  }
  const auto [x, y] = std::mismatch(a.begin(), a.end(), b.begin());
  if (x != a.end())
    lines.push_back(fmt::format("{}: entry {}: {} against {}", where, x - a.begin(), *x, *y));
}

// Calls both(x, y, name) for names in both maps; the others are differences themselves.
template <class Map, class Both>
void diff_maps(const Map& a, const Map& b, const std::set<std::string>& skipped,
               const std::string& where, Lines& lines, Both&& both) {
  for (const auto& [name, x] : a) {
    if (skipped.contains(name)) continue;
    const auto it = b.find(name);
    if (it == b.end())
      lines.push_back(fmt::format("{}: {} is only in the first", where, name));
    else
      both(x, it->second, name);
  }
  for (const auto& [name, y] : b)
    if (!skipped.contains(name) && !a.contains(name))
      lines.push_back(fmt::format("{}: {} is only in the second", where, name));
}

void diff_attributes(const std::map<std::string, Attribute>& a,
                     const std::map<std::string, Attribute>& b, const std::string& where,
                     Lines& lines) {
  diff_maps(a, b, kNotCompared, where, lines,
            [&](const Attribute& x, const Attribute& y, const std::string& name) {
              if (!kDerived.contains(name) && !same(x, y))
                lines.push_back(
                    fmt::format("{}: {}: {} against {}", where, name, text_of(x), text_of(y)));
            });
}

void diff_dataset(const Dataset& a, const Dataset& b, const std::string& where, Lines& lines) {
  diff_attributes(a.attributes, b.attributes, where, lines);
  const auto* x = std::get_if<Numbers>(&a.content);
  const auto* y = std::get_if<Numbers>(&b.content);
  if ((x == nullptr) != (y == nullptr))
    lines.push_back(where + ": numbers against texts");
  else if (x != nullptr)
    diff_numbers(*x, *y, where, lines);
  else
    diff_texts(std::get<1>(a.content), std::get<1>(b.content), where, lines);
}

void diff_nodes(const Node& a, const Node& b, const std::string& where, Lines& lines) {
  diff_attributes(a.attributes, b.attributes, where, lines);
  diff_maps(a.datasets, b.datasets, kNotCompared, where, lines,
            [&](const Dataset& x, const Dataset& y, const std::string& name) {
              diff_dataset(x, y, where + ": " + name, lines);
            });
  diff_maps(a.groups, b.groups, kGroupsNotCompared, where, lines,
            [&](const Node& x, const Node& y, const std::string& name) {
              diff_nodes(x, y, where + ": " + name, lines);
            });
}

bool dropped(const Parts& parts, const Reader::Entry& entry) {
  if (!entry.has_record) return false;
  const std::string part = cell_part(cell_directory(entry.name, entry.key));
  return !cell_of(parts.read(part), parts.label(part)).tensors_kept;
}

// Settings that differ, as text, and the cells in which they do.
using Settings = std::map<std::string, std::vector<std::string>>;

// Takes the settings, and the key that follows from them, out of two files of a cell.
void take_settings(Node& a, Node& b, const std::string& cell, Settings& settings) {
  for (const char* name : kSettings) {
    const auto x = a.attributes.extract(name), y = b.attributes.extract(name);
    if (x.empty() || y.empty() || same(x.mapped(), y.mapped())) continue;
    std::vector<std::string>& cells =
        settings[fmt::format("{}: {} against {}", name, text_of(x.mapped()), text_of(y.mapped()))];
    if (cells.empty() || cells.back() != cell) cells.push_back(cell);
  }
  a.attributes.erase("key");
  b.attributes.erase("key");
}

// Question sets are compared as records: their lists are named by document.
void diff_tasks(Node& a, Node& b, const std::string& cell, Lines& lines) {
  std::vector<Node> nodes[2];
  std::vector<TaskRecord> tasks[2];
  for (const int side : {0, 1}) {
    auto group = (side == 0 ? a : b).groups.extract("tasks");
    if (group.empty()) continue;
    for (auto& [name, node] : group.mapped().groups) {
      tasks[side].push_back(task_of(node, fmt::format("{}: tasks/{}", cell, name)));
      nodes[side].push_back(std::move(node));
    }
  }
  for (const auto [i, j] : pair_tasks(tasks[0], tasks[1])) {
    const std::string where =
        fmt::format("{}: task {}", cell, i == kOnlyOne ? tasks[1][j].task : tasks[0][i].task);
    if (i == kOnlyOne || j == kOnlyOne) {
      lines.push_back(
          fmt::format("{} is only in the {}", where, i == kOnlyOne ? "second" : "first"));
      continue;
    }
    diff_attributes(nodes[0][i].attributes, nodes[1][j].attributes, where, lines);
    for (const std::string& line : task_differences(tasks[0][i], tasks[1][j]))
      lines.push_back(where + ": " + line);
  }
}

void diff_parts(Node a, Node b, const std::string& cell, const std::string& where, Lines& lines,
                Settings& settings) {
  take_settings(a, b, cell, settings);
  diff_tasks(a, b, cell, lines);
  diff_nodes(a, b, where, lines);
}

void diff_cell(const Parts& a, const Parts& b, const Reader::Entry& x, const Reader::Entry& y,
               Lines& lines, Settings& settings) {
  const std::string cell_a = cell_directory(x.name, x.key), cell_b = cell_directory(y.name, y.key);
  if (x.key != y.key)
    lines.push_back(fmt::format("{}: key {:.8} against {:.8}", x.name, x.key, y.key));
  if (x.has_record != y.has_record)
    lines.push_back(
        fmt::format("{}: finished only in the {}", x.name, x.has_record ? "first" : "second"));
  else if (x.has_record)
    diff_parts(a.read(cell_part(cell_a)), b.read(cell_part(cell_b)), x.name, x.name, lines,
               settings);
  // Where tensors were dropped, the hashes in the cell's record stand for them.
  if (dropped(a, x) || dropped(b, y)) return;
  std::set<std::int64_t> layers(x.layers.begin(), x.layers.end());
  layers.insert(y.layers.begin(), y.layers.end());
  for (const std::int64_t layer : layers) {
    const std::string where = fmt::format("{}: layer {}", x.name, layer);
    const bool in_a = std::binary_search(x.layers.begin(), x.layers.end(), layer);
    const bool in_b = std::binary_search(y.layers.begin(), y.layers.end(), layer);
    if (in_a && in_b)
      diff_parts(a.read(layer_part(cell_a, layer)), b.read(layer_part(cell_b, layer)), x.name,
                 where, lines, settings);
    else
      lines.push_back(fmt::format("{} is only in the {}", where, in_a ? "first" : "second"));
  }
}

}  // namespace

std::vector<std::string> diff(const std::string& a, const std::string& b) {
  const Parts parts_a = Parts::open(a), parts_b = Parts::open(b);
  std::vector<Reader::Entry> cells_a = Reader::open(a).cells(), cells_b = Reader::open(b).cells();
  const auto unlisted = [](const Reader::Entry& entry) { return !entry.listed; };
  std::erase_if(cells_a, unlisted);
  std::erase_if(cells_b, unlisted);
  const auto find = [](const std::vector<Reader::Entry>& cells, const std::string& name) {
    return std::find_if(cells.begin(), cells.end(),
                        [&](const auto& entry) { return entry.name == name; });
  };
  Lines lines;
  Settings settings;
  for (const Reader::Entry& entry : cells_a) {
    const auto other = find(cells_b, entry.name);
    if (other == cells_b.end())
      lines.push_back(entry.name + " is only in the first");
    else
      diff_cell(parts_a, parts_b, entry, *other, lines, settings);
  }
  for (const Reader::Entry& entry : cells_b)
    if (find(cells_a, entry.name) == cells_a.end())
      lines.push_back(entry.name + " is only in the second");
  Lines all;
  for (const auto& [text, cells] : settings)
    all.push_back(
        fmt::format("{} (in {}{})", text, cells.front(),
                    cells.size() > 1 ? fmt::format(" and {} more", cells.size() - 1) : ""));
  all.insert(all.end(), lines.begin(), lines.end());
  return all;
}

}  // namespace bitgrid::results
