#include "core/methods/quantized_linear.hpp"

#include <fmt/format.h>

#include <cstring>
#include <span>

#include "core/methods/grid.hpp"
#include "kernels/error.hpp"
#include "kernels/pack_codes.hpp"
#include "kernels/round_to_grid.hpp"
#include "kernels/sha256.hpp"

namespace bitgrid {
namespace {

std::int64_t stored_bytes(const StoredArray& array) {
  std::int64_t rows = 1;
  for (std::size_t i = 0; i + 1 < array.shape.size(); ++i) rows *= array.shape[i];
  const std::int64_t last = array.shape.empty() ? 1 : array.shape.back();
  return rows * (array.packed_bits > 0 ? packed_row_bytes(last, array.packed_bits)
                                       : last * dtype_bytes(array.dtype));
}

// The array, checked against what the format says of it.
const StoredArray& expect(const QuantizedLinear& linear, const StoredArray* array,
                          const std::string& name, const std::vector<std::int64_t>& shape,
                          DType dtype, int packed_bits) {
  if (array == nullptr) throw Error(fmt::format("{}: array '{}' is missing", linear.name, name));
  if (array->shape != shape)
    throw Error(fmt::format("{}: array '{}' must have shape [{}], not [{}]", linear.name, name,
                            fmt::join(shape, ", "), fmt::join(array->shape, ", ")));
  if (array->dtype != dtype || array->packed_bits != packed_bits)
    throw Error(fmt::format("{}: array '{}' must be {} packed to {} bits, not {} to {}",
                            linear.name, name, dtype_name(dtype), packed_bits,
                            dtype_name(array->dtype), array->packed_bits));
  if (static_cast<std::int64_t>(array->data.size()) != stored_bytes(*array))
    throw Error(fmt::format("{}: array '{}' must be {} bytes, not {}", linear.name, name,
                            stored_bytes(*array), array->data.size()));
  return *array;
}

std::vector<std::int32_t> read_groups(const QuantizedLinear& linear, std::int64_t group,
                                      std::int64_t groups) {
  const StoredArray* array = linear.find("group_index");
  if (array == nullptr) return natural_groups(linear.cols, group);
  expect(linear, array, "group_index", {linear.cols}, DType::i32, 0);
  std::vector<std::int32_t> index(static_cast<std::size_t>(linear.cols));
  std::memcpy(index.data(), array->data.data(), array->data.size());
  for (const std::int32_t g : index)
    if (g < 0 || g >= groups)
      throw Error(
          fmt::format("{}: group_index holds {}, there are {} groups", linear.name, g, groups));
  return index;
}

Matrix<float> read_scales(const StoredArray& array, std::int64_t rows, std::int64_t groups) {
  Matrix<float> scales(rows, groups);
  for (std::int64_t i = 0; i < scales.size(); ++i) {
    std::uint16_t half = 0;
    std::memcpy(&half, array.data.data() + 2 * i, sizeof half);
    scales.data()[i] = f16_to_f32(half);
  }
  return scales;
}

Matrix<std::uint8_t> read_zeros(const Place& place, const QuantizedLinear& linear,
                                std::int64_t groups) {
  Matrix<std::uint8_t> zeros(linear.rows, groups);
  const StoredArray* array = linear.find("zeros");
  if (array == nullptr) {
    zeros.fill(static_cast<std::uint8_t>(1 << (linear.bits - 1)));
    return zeros;
  }
  expect(linear, array, "zeros", {linear.rows, groups}, DType::u8, linear.bits);
  unpack_codes(place, array->data, linear.bits, zeros.view());
  return zeros;
}

void check_header(const QuantizedLinear& linear) {
  if (linear.format != "uniform")
    throw Error(fmt::format("{}: unknown format '{}'; this version reads 'uniform'", linear.name,
                            linear.format));
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
  check_header(linear);
  const std::int64_t group = linear.group < 0 ? linear.cols : linear.group;
  const std::int64_t groups = linear.cols / group;
  const StoredArray& packed = expect(linear, linear.find("codes"), "codes",
                                     {linear.rows, linear.cols}, DType::u8, linear.bits);
  const StoredArray& halves =
      expect(linear, linear.find("scales"), "scales", {linear.rows, groups}, DType::f16, 0);
  const Matrix<float> scales = read_scales(halves, linear.rows, groups);
  const Matrix<std::uint8_t> zeros = read_zeros(place, linear, groups);
  const std::vector<std::int32_t> group_of = read_groups(linear, group, groups);
  Matrix<std::uint8_t> codes(linear.rows, linear.cols);
  unpack_codes(place, packed.data, linear.bits, codes.view());
  Matrix<float> w(linear.rows, linear.cols);
  dequantize(place, codes.view(), group_of, scales.view(), zeros.view(), w.view());
  return w;
}

}  // namespace bitgrid
