#include "results/store.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <mutex>

#include "kernels/error.hpp"
#include "results/file.hpp"
#include "results/hdf5.hpp"
#include "results/layout.hpp"
#include "results/parts.hpp"

namespace bitgrid::results {
namespace {

namespace fs = std::filesystem;

constexpr const char* kRemedy = "; run the sweep again, which makes it again";

// Runs fn; a DamagedFile that escapes also says what to do about the file that it names.
template <class Fn>
auto with_remedy(Fn&& fn) {
  try {
    return fn();
  } catch (const DamagedFile& e) {
    throw DamagedFile(e.what() + std::string(kRemedy));
  }
}

// What is wrong with a file that should be sound; nothing if it is.
std::optional<std::string> damage_of(const std::string& file) {
  try {
    verify_file(file);
  } catch (const DamagedFile& e) {
    return e.what();
  }
  return std::nullopt;
}

// The model whose results lie here, or "" if there are none: run.h5 says it, and so does every
// other part that is sound.
std::string stored_model(const Parts& parts) {
  for (const std::string& part : parts.all()) {
    if (damage_of(parts.file(part))) continue;
    const auto attributes = parts.attributes(part);
    const auto it = attributes.find("model_fingerprint");
    if (it == attributes.end())
      throw Error(parts.file(part) + ": does not say which model it belongs to");
    if (const auto* text = std::get_if<std::string>(&it->second)) return *text;
  }
  return "";
}

void remove_temporaries(const fs::path& folder) {
  if (!fs::is_directory(folder)) return;
  for (const auto& entry : fs::directory_iterator(folder))
    if (is_temporary(entry.path().filename().string())) remove_file(entry.path().string());
}

// Files that are ours, and the folder if nothing else is in it. cell.h5 goes first: half removed is
// half finished.
void remove_cell(const fs::path& folder) {
  remove_file((folder / "cell.h5").string());
  std::vector<fs::path> ours;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (is_temporary(name) ||
        (name.ends_with(".h5") && parse_layer(name.substr(0, name.size() - 3))))
      ours.push_back(entry.path());
  }
  for (const fs::path& file : ours) remove_file(file.string());
  if (fs::is_empty(folder)) fs::remove(folder);
}

}  // namespace

struct Store::State {
  std::string directory;
  std::unique_ptr<Lock> lock;  // null for ranks that joined
  std::vector<std::string> faults;
  Parts parts = Parts::directory(directory);

  void write(const std::string& part, const Node& node) const {
    const std::string file = parts.file(part);
    make_directories(fs::path(file).parent_path().string());
    publish(file, with_context("cannot write " + file, [&] { return hdf5_image(node); }));
  }
};

Store::Store(std::unique_ptr<State> state) : state_(std::move(state)) {}
Store::Store(Store&&) noexcept = default;
Store& Store::operator=(Store&&) noexcept = default;
Store::~Store() = default;

Store Store::create(const std::string& directory, const std::string& model_fingerprint) {
  try {
    make_directories(directory);
  } catch (const RunError& e) {
    throw InputError(e.what());
  }
  auto state = std::make_unique<State>();
  state->directory = directory;
  state->parts = Parts::directory(directory);
  const fs::path lock = fs::path(directory) / "lock";
  const bool ours = fs::exists(lock) || !state->parts.cells().empty();
  state->lock = std::make_unique<Lock>(lock.string());
  for (const char* name : {"run.h5", "results.h5"}) {
    const std::string file = (fs::path(directory) / name).string();
    if (!fs::exists(file)) continue;
    const auto damage = damage_of(file);
    if (!damage) continue;
    if (!ours && !is_results_file(file))
      throw InputError(*damage + "; it would be overwritten: delete it or choose another output");
    state->faults.push_back(*damage);
  }
  const std::string model = stored_model(state->parts);
  if (!model.empty() && model != model_fingerprint)
    throw InputError(
        fmt::format("{} holds results of another model (its fingerprint is {:.12}…, this model's "
                    "is {:.12}…); choose another output",
                    directory, model, model_fingerprint));
  remove_temporaries(directory);
  for (const std::string& cell : state->parts.cells())
    remove_temporaries(fs::path(directory) / "cells" / cell);
  return Store(std::move(state));
}

Store Store::join(const std::string& directory) {
  auto state = std::make_unique<State>();
  state->directory = directory;
  state->parts = Parts::directory(directory);
  return Store(std::move(state));
}

const std::string& Store::directory() const { return state_->directory; }

void Store::write_run(const RunRecord& run) { state_->write("run", run_node(run)); }

void Store::write_layer(const CellHeader& cell, const LayerRecord& layer) {
  state_->write(layer_part(cell_directory(cell.name, cell.key), layer.layer),
                layer_node(cell, layer));
}

void Store::write_cell(const CellRecord& cell) {
  state_->write(cell_part(cell_directory(cell.header.name, cell.header.key)), cell_node(cell));
}

void Store::drop_layers(const CellHeader& header) {
  const std::string cell = cell_directory(header.name, header.key);
  const std::vector<std::int64_t> layers = state_->parts.layers(cell);
  for (const std::int64_t layer : layers) remove_file(state_->parts.file(layer_part(cell, layer)));
  if (!layers.empty()) sync_directory((fs::path(state_->directory) / "cells" / cell).string());
}

std::vector<std::string> Store::unlisted(const std::vector<std::string>& listed_keys) const {
  const fs::path cells = fs::path(state_->directory) / "cells";
  std::vector<std::string> names;
  for (const std::string& cell : state_->parts.cells()) {
    const bool listed =
        std::any_of(listed_keys.begin(), listed_keys.end(), [&](const std::string& key) {
          return key.substr(0, kKeyDigits) == parse_cell_directory(cell)->key8;
        });
    if (!listed && fs::symlink_status(cells / cell).type() == fs::file_type::directory)
      names.push_back(cell);
  }
  return names;
}

std::vector<std::string> Store::prune(const std::vector<std::string>& listed_keys) {
  const fs::path cells = fs::path(state_->directory) / "cells";
  std::vector<std::string> names = unlisted(listed_keys);
  for (const std::string& cell : names) remove_cell(cells / cell);
  if (fs::is_directory(cells)) sync_directory(cells.string());
  return names;
}

void Store::rebuild_master() {
  Node root;
  root.attributes["kind"] = std::string("master");
  root.attributes["schema"] = kSchema;
  root.groups["cells"];
  for (const std::string& part : state_->parts.all()) {
    if (part == "run") {
      root.links["run"] = "run.h5";
      continue;
    }
    const fs::path path(part);  // cells/NAME.KEY8/PART
    root.groups["cells"]
        .groups[path.parent_path().filename().string()]
        .links[path.filename().string()] = part + ".h5";
  }
  state_->write("results", root);
}

const std::vector<std::string>& Store::faults_found() const { return state_->faults; }

std::vector<std::string> Store::stored_parts(const CellHeader& header) const {
  const std::string cell = cell_directory(header.name, header.key);
  std::vector<std::string> parts;
  if (state_->parts.has(cell_part(cell))) parts.push_back(cell_part(cell));
  for (const std::int64_t layer : state_->parts.layers(cell))
    parts.push_back(layer_part(cell, layer));
  return parts;
}

std::optional<std::string> Store::fault_of(const std::string& part) const {
  static std::mutex one_at_a_time;  // HDF5 has no threads; the digest takes the time
  try {
    verify_file(state_->parts.file(part));
    const std::lock_guard guard(one_at_a_time);
    check_identity(state_->parts, part);
  } catch (const DamagedFile& e) {
    return e.what();
  }
  return std::nullopt;
}

void Store::remove_part(const std::string& part) { remove_file(state_->parts.file(part)); }

std::vector<std::int64_t> Store::stored_layers(const CellHeader& header) const {
  const std::string cell = cell_directory(header.name, header.key);
  const std::vector<std::int64_t> layers = state_->parts.layers(cell);
  with_remedy([&] {
    for (const std::int64_t layer : layers)
      verify_size(state_->parts.file(layer_part(cell, layer)));
  });
  return layers;
}

LayerRecord Store::read_layer(const CellHeader& header, std::int64_t layer) const {
  const std::string part = layer_part(cell_directory(header.name, header.key), layer);
  return with_remedy([&] {
    const std::string file = state_->parts.file(part);
    StoredLayer stored = layer_of(state_->parts.read(part), file);
    if (stored.cell.key != header.key || stored.layer.layer != layer)
      throw DamagedFile(file + ": holds another cell or layer than its name says");
    return std::move(stored.layer);
  });
}

std::optional<CellRecord> Store::read_cell(const CellHeader& header) const {
  const std::string part = cell_part(cell_directory(header.name, header.key));
  if (!state_->parts.has(part)) return std::nullopt;
  return with_remedy([&] {
    CellRecord cell = cell_of(state_->parts.read(part), state_->parts.file(part));
    if (cell.header.key != header.key)
      throw DamagedFile(state_->parts.file(part) + ": holds another cell than its name says");
    return std::optional(std::move(cell));
  });
}

}  // namespace bitgrid::results
