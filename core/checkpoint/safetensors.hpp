#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/dtype.hpp"

namespace bitgrid {

// An element type of the format. Known is not usable: only some have a DType.
struct SafetensorsDType {
  std::string_view name;  // as the file spells it
  unsigned bits = 0;
  std::optional<DType> dtype;
};

struct SafetensorsTensor {
  std::string name;
  SafetensorsDType dtype;
  std::vector<std::uint64_t> shape;  // empty: a scalar
  std::uint64_t begin = 0;           // bytes [begin, end) of the data
  std::uint64_t end = 0;
};

struct SafetensorsHeader {
  std::uint64_t data_offset = 0;           // where the data starts in the file
  std::vector<SafetensorsTensor> tensors;  // in the order of the data; they cover it without gap
  std::vector<std::string> warnings;
};

// A file is 8 bytes N (little-endian), N bytes of JSON header, the data. All three throw
// InputError, "FILE: rule" or "FILE: tensor "NAME": rule", and trust no number of the file before
// it is checked against file_bytes.

// The header's length N. prefix: the first 8 bytes, or all there are.
std::uint64_t safetensors_header_bytes(std::span<const std::byte> prefix, std::uint64_t file_bytes,
                                       const std::string& file);
SafetensorsHeader parse_safetensors_header(std::string_view json, std::uint64_t file_bytes,
                                           const std::string& file);
SafetensorsHeader parse_safetensors(std::span<const std::byte> whole_file, const std::string& file);

}  // namespace bitgrid
