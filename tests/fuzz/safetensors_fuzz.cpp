#include <span>

#include "core/checkpoint/safetensors.hpp"
#include "tests/fuzz/fuzz.hpp"

// An accepted file is covered by its tensors, byte by byte.
int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace bitgrid;
  fuzz::accepted([&] {
    const auto header = parse_safetensors(std::as_bytes(std::span(data, size)), "fuzz.safetensors");
    std::uint64_t position = 0;
    for (const auto& tensor : header.tensors) {
      if (tensor.begin != position || tensor.end < tensor.begin) fuzz::fail("tensors do not touch");
      position = tensor.end;
    }
    if (header.data_offset + position != size) fuzz::fail("tensors do not end with the file");
  });
  return 0;
}
