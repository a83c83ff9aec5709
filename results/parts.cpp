#include "results/parts.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <filesystem>

#include "kernels/error.hpp"
#include "results/file.hpp"
#include "results/hdf5.hpp"
#include "results/layout.hpp"

namespace bitgrid::results {
namespace {

namespace fs = std::filesystem;

bool is_name(std::string_view text) {
  return !text.empty() && text.front() != '.' &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return std::isalnum(c) || c == '+' || c == '=' || c == '.' || c == '-' || c == '_';
         });
}
bool is_hex(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

// File names in a folder, sorted; none if the folder is not there. Other processes may be renaming
// and removing.
std::vector<std::string> names_in_folder(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
    names.push_back(it->path().filename().string());
  if (error && error != std::errc::no_such_file_or_directory)
    throw Error(fmt::format("{}: cannot list: {}", folder.string(), error.message()));
  std::sort(names.begin(), names.end());
  return names;
}

std::string kind_of_file(const std::string& file) {
  const auto attributes = read_hdf5_attributes(file, "/");
  const auto it = attributes.find("kind");
  const auto* kind = it == attributes.end() ? nullptr : std::get_if<std::string>(&it->second);
  return kind == nullptr ? "" : *kind;
}

}  // namespace

std::string cell_directory(const std::string& name, const std::string& key) {
  BITGRID_ASSERT(is_name(name) && key.size() >= kKeyDigits && is_hex(key));
  return fmt::format("{}.{}", name, key.substr(0, kKeyDigits));
}
std::string cell_part(const std::string& cell) { return fmt::format("cells/{}/cell", cell); }
std::string layer_part(const std::string& cell, std::int64_t layer) {
  return fmt::format("cells/{}/layer-{:04}", cell, layer);
}

std::optional<CellDirectory> parse_cell_directory(std::string_view text) {
  const auto dot = text.rfind('.');
  if (dot == text.npos || text.size() - dot - 1 != kKeyDigits || !is_hex(text.substr(dot + 1)) ||
      !is_name(text.substr(0, dot)))
    return std::nullopt;
  return CellDirectory{std::string(text.substr(0, dot)), std::string(text.substr(dot + 1))};
}

std::optional<std::int64_t> parse_layer(std::string_view part) {
  constexpr std::string_view prefix = "layer-";
  if (!part.starts_with(prefix) || part.size() < prefix.size() + 4) return std::nullopt;
  std::int64_t layer = 0;
  const auto [end, error] =
      std::from_chars(part.data() + prefix.size(), part.data() + part.size(), layer);
  if (error != std::errc() || end != part.data() + part.size() || layer < 0 ||
      part != fmt::format("layer-{:04}", layer))
    return std::nullopt;
  return layer;
}

bool is_temporary(std::string_view file) {
  const auto at = file.find(".h5.tmp.");
  if (at == file.npos) return false;
  const std::string_view part = file.substr(0, at);
  return part == "run" || part == "results" || part == "cell" || parse_layer(part).has_value();
}

Parts Parts::open(const std::string& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status))
    throw InputError(path + ": " +
                     (status.type() == fs::file_type::not_found
                          ? "there is no such file or directory"
                          : "cannot be read: " + error.message()));
  if (fs::is_directory(status)) {
    if (!fs::exists(fs::path(path) / "run.h5"))
      throw InputError(path + ": is not a results directory: it has no run.h5");
    return Parts(path, false);
  }
  const fs::path parent = fs::path(path).parent_path();
  const std::string folder = parent.empty() ? "." : parent.string();
  // The master only links to what lies beside it: not even its links are needed.
  if (fs::path(path).filename() == "results.h5" && fs::exists(fs::path(folder) / "run.h5"))
    return open(folder);
  std::string kind;
  try {
    verify_size(path);
    kind = kind_of_file(path);
  } catch (const Error& e) {
    throw InputError(e.what());
  }
  if (kind == "packed") return Parts(path, true);
  throw InputError(path + ": is neither a results directory nor a packed file");
}

std::vector<std::string> Parts::cells() const {
  std::vector<std::string> found =
      packed_ ? list_hdf5(path_, "/cells") : names_in_folder(fs::path(path_) / "cells");
  std::erase_if(found, [](const std::string& name) { return !parse_cell_directory(name); });
  return found;
}

std::vector<std::string> Parts::names(const std::string& cell) const {
  if (packed_) return list_hdf5(path_, fmt::format("/cells/{}", cell));
  std::vector<std::string> found;
  for (const std::string& name : names_in_folder(fs::path(path_) / "cells" / cell))
    if (name.ends_with(".h5")) found.push_back(name.substr(0, name.size() - 3));
  return found;
}

std::vector<std::int64_t> Parts::layers(const std::string& cell) const {
  std::vector<std::int64_t> layers;
  for (const std::string& name : names(cell))
    if (const auto layer = parse_layer(name)) layers.push_back(*layer);
  std::sort(layers.begin(), layers.end());
  return layers;
}

bool Parts::has(const std::string& part) const {
  if (!packed_) return fs::exists(file(part));
  const auto slash = part.rfind('/');
  const auto found =
      list_hdf5(path_, slash == part.npos ? "/" : fmt::format("/{}", part.substr(0, slash)));
  return std::find(found.begin(), found.end(), part.substr(slash + 1)) != found.end();
}

std::string Parts::file(const std::string& part) const {
  return packed_ ? path_ : (fs::path(path_) / fmt::format("{}.h5", part)).string();
}
std::string Parts::label(const std::string& part) const {
  return packed_ ? fmt::format("{}: /{}", path_, part) : file(part);
}

Node Parts::read(const std::string& part) const {
  if (packed_) return read_hdf5(path_, fmt::format("/{}", part));
  verify_file(file(part));
  return read_hdf5(file(part), "/");
}

std::map<std::string, Attribute> Parts::attributes(const std::string& part) const {
  return packed_ ? read_hdf5_attributes(path_, fmt::format("/{}", part))
                 : read_hdf5_attributes(file(part), "/");
}

namespace {

// An attribute of type T; DamagedFile if there is none.
template <class T>
T attribute(const std::map<std::string, Attribute>& attributes, const char* key,
            const std::string& where) {
  const auto it = attributes.find(key);
  const auto* value = it == attributes.end() ? nullptr : std::get_if<T>(&it->second);
  if (value == nullptr) throw DamagedFile(fmt::format("{}: attribute {} is missing", where, key));
  return *value;
}

}  // namespace

void check_identity(const Parts& parts, const std::string& part) {
  const std::string where = parts.label(part);
  std::map<std::string, Attribute> attributes;
  try {
    attributes = parts.attributes(part);
  } catch (const Error& e) {
    throw DamagedFile(e.what());
  }
  const auto schema = attribute<std::int64_t>(attributes, "schema", where);
  if (schema != kSchema)
    throw Error(
        fmt::format("{}: has schema {}, this version of bitgrid reads {}", where, schema, kSchema));
  const fs::path path(part);  // cells/NAME.KEY8/PART, or run
  const auto layer = parse_layer(path.filename().string());
  const std::string wanted = layer ? "layer" : path.filename().string();
  const auto kind = attribute<std::string>(attributes, "kind", where);
  if (kind != wanted)
    throw DamagedFile(fmt::format("{}: holds a {}, not a {}", where, kind, wanted));
  if (!path.has_parent_path()) return;
  const auto named = parse_cell_directory(path.parent_path().filename().string());
  const auto name = attribute<std::string>(attributes, "name", where);
  const auto key = attribute<std::string>(attributes, "key", where);
  if (!named || name != named->name || !key.starts_with(named->key8))
    throw DamagedFile(fmt::format("{}: belongs to cell {}, key {:.8}", where, name, key));
  if (layer && attribute<std::int64_t>(attributes, "layer", where) != *layer)
    throw DamagedFile(fmt::format("{}: holds layer {}", where,
                                  attribute<std::int64_t>(attributes, "layer", where)));
}

std::string missing_layers(const CellRecord& record, const std::vector<std::int64_t>& stored) {
  if (record.status != CellStatus::finished || !record.tensors_kept) return "";
  std::vector<std::int64_t> missing;
  for (const LinearSummary& linear : record.linears)
    if (!std::binary_search(stored.begin(), stored.end(), linear.layer) &&
        (missing.empty() || missing.back() != linear.layer))
      missing.push_back(linear.layer);
  if (missing.empty()) return "";
  if (missing.size() == 1) return fmt::format("layer {} is missing", missing[0]);
  return fmt::format("layers {} and {} are missing",
                     fmt::join(missing.begin(), missing.end() - 1, ", "), missing.back());
}

std::vector<std::string> Parts::all() const {
  std::vector<std::string> parts;
  if (has("run")) parts.push_back("run");
  for (const std::string& cell : cells()) {
    if (has(cell_part(cell))) parts.push_back(cell_part(cell));
    for (const std::int64_t layer : layers(cell)) parts.push_back(layer_part(cell, layer));
  }
  return parts;
}

}  // namespace bitgrid::results
