#include "core/checkpoint/shard_index.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "core/checkpoint/input_file.hpp"
#include "core/checkpoint/strict_json.hpp"
#include "kernels/error.hpp"

namespace bitgrid {
namespace {

constexpr std::string_view kIndexName = "model.safetensors.index.json";
constexpr std::string_view kSingleName = "model.safetensors";
constexpr std::uint64_t kIndexBytesMax = 64ull << 20;

// What other weight formats leave in a directory. A pickle runs code when it is opened.
constexpr std::string_view kPickleNames[] = {"pytorch_model.bin", "pytorch_model.bin.index.json",
                                             "consolidated.00.pth", "original/consolidated.00.pth"};

bool is_shard_name(std::string_view name) {
  const auto allowed = [](char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  };
  return name.size() > std::string_view(".safetensors").size() && name.size() <= 255 &&
         name.ends_with(".safetensors") && std::all_of(name.begin(), name.end(), allowed);
}

// {"metadata": {"total_size": 123, …}, "weight_map": {"TENSOR": "FILE", …}}; other keys and their
// values are skipped.
class IndexReader final : public JsonEvents {
 public:
  explicit IndexReader(const std::string& file) : file_(file) {}
  ShardIndex index;
  bool has_map = false;

  void begin_object() override {
    if (depth_ == 1 && section_ == "weight_map") has_map = true;
    if (in_map()) wrong_value();
    ++depth_;
  }
  void begin_array() override {
    if (depth_ == 0 || (depth_ == 1 && section_ == "weight_map") || in_map()) wrong_value();
    ++depth_;
  }
  void end() override { --depth_; }
  void key(std::string_view name) override {
    if (depth_ == 1) section_ = name;
    if (depth_ == 2) key_ = name;
  }
  void scalar(const JsonScalar& value) override {
    if (depth_ == 0 || (depth_ == 1 && section_ == "weight_map")) wrong_value();
    if (in_map()) {
      if (value.kind != JsonScalar::Kind::text) wrong_value();
      if (!is_shard_name(value.text))
        throw InputError(
            fmt::format("{}: weight_map sends {} to {}, which is not a bare file name "
                        "(letters, digits, '.', '_', '-') ending in .safetensors",
                        file_, quote(key_), quote(value.text)));
      index.weight_map.emplace(key_, value.text);
    } else if (depth_ == 2 && section_ == "metadata" && key_ == "total_size" &&
               value.kind == JsonScalar::Kind::unsigned_integer) {
      index.total_size = value.integer;  // some converters write it as a float: as if absent
    }
  }

 private:
  bool in_map() const { return depth_ == 2 && section_ == "weight_map"; }
  [[noreturn]] void wrong_value() const {
    if (depth_ == 0) throw InputError(file_ + ": must be a JSON object with weight_map");
    throw InputError(file_ + ": weight_map must be an object that maps tensor names to file names");
  }

  const std::string& file_;
  int depth_ = 0;
  std::string section_;
  std::string key_;
};

}  // namespace

ShardIndex parse_shard_index(std::string_view json, const std::string& file) {
  IndexReader reader(file);
  read_json(json, file, {.depth = 8}, reader);
  if (!reader.has_map) throw InputError(file + ": weight_map is missing");
  if (reader.index.weight_map.empty()) throw InputError(file + ": weight_map is empty");
  return std::move(reader.index);
}

WeightFiles find_weight_files(const std::string& directory) {
  const std::filesystem::path base(directory);
  const auto exists = [&](std::string_view name) {
    std::error_code ignored;
    return std::filesystem::exists(base / name, ignored);
  };
  if (exists(kIndexName)) {
    const std::string path = (base / kIndexName).string();
    WeightFiles files;
    files.index = parse_shard_index(read_small_file(path, kIndexBytesMax), path);
    std::set<std::string> names;
    for (const auto& [tensor, name] : files.index->weight_map) names.insert(name);
    files.names.assign(names.begin(), names.end());
    if (exists(kSingleName) && files.names != std::vector<std::string>{std::string(kSingleName)})
      throw InputError(
          fmt::format("{}: both {} and {} are here, and the index names other files; remove one",
                      directory, kSingleName, kIndexName));
    return files;
  }
  if (exists(kSingleName)) return {.names = {std::string(kSingleName)}, .index = {}};
  for (const auto name : kPickleNames)
    if (exists(name))
      throw InputError(
          fmt::format("{}: {} is a PyTorch pickle, which is never opened; convert the weights to "
                      "safetensors",
                      directory, name));
  throw InputError(
      fmt::format("{}: no weights: neither {} nor {}", directory, kSingleName, kIndexName));
}

}  // namespace bitgrid
