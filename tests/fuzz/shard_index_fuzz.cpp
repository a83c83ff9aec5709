#include <string_view>

#include "core/checkpoint/shard_index.hpp"
#include "tests/fuzz/fuzz.hpp"

// An accepted index names files in its own directory only.
int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace bitgrid;
  fuzz::accepted([&] {
    const auto index = parse_shard_index(fuzz::text(data, size), "fuzz.index.json");
    if (index.weight_map.empty()) fuzz::fail("an empty map");
    for (const auto& [tensor, file] : index.weight_map)
      if (file.find_first_of(std::string_view("/\0", 2)) != file.npos ||
          !file.ends_with(".safetensors"))
        fuzz::fail("a file name is a path");
  });
  return 0;
}
