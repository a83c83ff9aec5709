#include <algorithm>
#include <map>

#include "kernels/error.hpp"
#include "results/file.hpp"
#include "results/layout.hpp"
#include "results/parts.hpp"
#include "results/store.hpp"

namespace bitgrid::results {

struct Reader::State {
  Parts parts;
};

Reader::Reader(std::unique_ptr<State> state) : state_(std::move(state)) {}
Reader::Reader(Reader&&) noexcept = default;
Reader& Reader::operator=(Reader&&) noexcept = default;
Reader::~Reader() = default;

Reader Reader::open(const std::string& path) {
  return Reader(std::make_unique<State>(State{Parts::open(path)}));
}

const std::string& Reader::path() const { return state_->parts.path(); }

std::optional<std::string> Reader::writer() const {
  if (state_->parts.packed()) return std::nullopt;
  return lock_holder(state_->parts.path() + "/lock");
}

RunRecord Reader::run() const {
  return run_of(state_->parts.read("run"), state_->parts.label("run"));
}

namespace {

void fill(Reader::Entry& entry, const Parts& parts, const std::string& cell) {
  entry.layers = parts.layers(cell);
  entry.has_record = parts.has(cell_part(cell));
}

// The whole key of a cell that the sweep no longer lists; its first digits if no part can tell.
std::string key_of(const Parts& parts, const std::string& cell, const Reader::Entry& entry) {
  try {
    if (!entry.has_record && entry.layers.empty()) return entry.key;
    const std::string part =
        entry.has_record ? cell_part(cell) : layer_part(cell, entry.layers.front());
    if (!parts.packed()) verify_file(parts.file(part));
    const auto attributes = parts.attributes(part);
    const auto it = attributes.find("key");
    if (it != attributes.end() && std::holds_alternative<std::string>(it->second))
      return std::get<std::string>(it->second);
  } catch (const Error&) {  // reading the cell itself will tell
  }
  return entry.key;
}

}  // namespace

std::vector<Reader::Entry> Reader::cells() const {
  const RunRecord listed = run();
  const std::vector<std::string> found = state_->parts.cells();
  std::vector<Entry> entries;
  std::vector<std::string> seen;
  for (std::size_t i = 0; i < listed.cell_names.size(); ++i) {
    Entry entry{listed.cell_names[i], listed.cell_keys[i], true, {}, false};
    const std::string cell = cell_directory(entry.name, entry.key);
    if (std::binary_search(found.begin(), found.end(), cell)) fill(entry, state_->parts, cell);
    seen.push_back(cell);
    entries.push_back(std::move(entry));
  }
  for (const std::string& cell : found) {
    if (std::find(seen.begin(), seen.end(), cell) != seen.end()) continue;
    const auto parsed = parse_cell_directory(cell);
    Entry entry{parsed->name, parsed->key8, false, {}, false};
    fill(entry, state_->parts, cell);
    entry.key = key_of(state_->parts, cell, entry);
    entries.push_back(std::move(entry));
  }
  return entries;
}

LayerRecord Reader::layer(const Entry& entry, std::int64_t layer) const {
  const std::string part = layer_part(cell_directory(entry.name, entry.key), layer);
  return layer_of(state_->parts.read(part), state_->parts.label(part)).layer;
}

CellRecord Reader::cell(const Entry& entry) const {
  const std::string part = cell_part(cell_directory(entry.name, entry.key));
  return cell_of(state_->parts.read(part), state_->parts.label(part));
}

}  // namespace bitgrid::results
