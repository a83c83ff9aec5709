#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace bitgrid {

// model.safetensors.index.json: which shard holds which tensor.
struct ShardIndex {
  std::map<std::string, std::string> weight_map;  // tensor -> file name beside the index
  std::optional<std::uint64_t> total_size;        // bytes of all tensors, if the file says so
};
// Throws InputError naming file and rule.
ShardIndex parse_shard_index(std::string_view json, const std::string& file);

// The weight files of a model directory, by fixed names and the index only; nothing else in the
// directory is looked at.
struct WeightFiles {
  std::vector<std::string> names;   // in the directory, sorted
  std::optional<ShardIndex> index;  // none: the single file holds everything
};
WeightFiles find_weight_files(const std::string& directory);

}  // namespace bitgrid
