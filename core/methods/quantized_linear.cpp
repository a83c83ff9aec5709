#include "core/methods/quantized_linear.hpp"

#include <fmt/format.h>

#include <span>

#include "core/methods/formats.hpp"
#include "kernels/error.hpp"
#include "kernels/sha256.hpp"

namespace bitgrid {
namespace {

void check_header(const QuantizedLinear& linear) {
  if (linear.rows < 1 || linear.cols < 1 || linear.bits < 1 || linear.bits > 8)
    throw Error(fmt::format("{}: {} rows, {} columns and {} bits are not a linear", linear.name,
                            linear.rows, linear.cols, linear.bits));
  if (linear.group != -1 && (linear.group < 1 || linear.cols % linear.group != 0))
    throw Error(fmt::format("{}: group {} does not divide {} columns", linear.name, linear.group,
                            linear.cols));
}

std::span<const std::byte> bytes_of(const std::int64_t& value) {
  return std::as_bytes(std::span(&value, 1));
}

}  // namespace

const StoredArray* QuantizedLinear::find(const std::string& array) const {
  for (const StoredArray& a : arrays)
    if (a.name == array) return &a;
  return nullptr;
}

double QuantizedLinear::bits_per_weight() const {
  std::size_t bytes = 0;
  for (const StoredArray& array : arrays)
    if (array.required) bytes += array.data.size();
  return 8.0 * static_cast<double>(bytes) / (static_cast<double>(rows) * static_cast<double>(cols));
}

std::string QuantizedLinear::code_hash() const {
  Sha256 hash;
  for (const StoredArray& array : arrays) {
    if (!array.required) continue;
    hash.update(fmt::format("{}\n{}\n{}\n[{}]\n", array.name, dtype_name(array.dtype),
                            array.packed_bits, fmt::join(array.shape, ",")));
    hash.update(bytes_of(static_cast<std::int64_t>(array.data.size())));
    hash.update(array.data);
  }
  return hash.hex();
}

Matrix<float> rebuild_weight(const Place& place, const QuantizedLinear& linear) {
  const RebuildWeight rebuild = find_format(linear.format);
  if (rebuild == nullptr)
    throw Error(fmt::format("{}: unknown format '{}'; is this file of a later version?",
                            linear.name, linear.format));
  check_header(linear);
  return rebuild(place, linear);
}

}  // namespace bitgrid
