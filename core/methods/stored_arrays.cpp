#include "core/methods/stored_arrays.hpp"

#include <fmt/format.h>

#include <cstring>

#include "kernels/error.hpp"
#include "kernels/pack_codes.hpp"

namespace bitgrid {
namespace {

StoredArray plain_array(std::string name, DType dtype, std::vector<std::int64_t> shape,
                        bool required) {
  StoredArray array;
  array.name = std::move(name);
  array.dtype = dtype;
  array.shape = std::move(shape);
  array.required = required;
  std::int64_t count = 1;
  for (const std::int64_t n : array.shape) count *= n;
  array.data.resize(static_cast<std::size_t>(count * dtype_bytes(dtype)));
  return array;
}

template <class T>
StoredArray vector_array(std::string name, DType dtype, std::span<const T> values, bool required) {
  StoredArray array =
      plain_array(std::move(name), dtype, {static_cast<std::int64_t>(values.size())}, required);
  if (!values.empty()) std::memcpy(array.data.data(), values.data(), values.size_bytes());
  return array;
}

std::int64_t stored_bytes(const StoredArray& array) {
  std::int64_t rows = 1;
  for (std::size_t i = 0; i + 1 < array.shape.size(); ++i) rows *= array.shape[i];
  const std::int64_t last = array.shape.empty() ? 1 : array.shape.back();
  return rows * (array.packed_bits > 0 ? packed_row_bytes(last, array.packed_bits)
                                       : last * dtype_bytes(array.dtype));
}

template <class T>
std::vector<T> read_vector(const QuantizedLinear& linear, const std::string& name, DType dtype,
                           std::int64_t count) {
  const StoredArray& array = expect_array(linear, {name, {count}, dtype, 0});
  std::vector<T> values(static_cast<std::size_t>(count));
  if (!values.empty()) std::memcpy(values.data(), array.data.data(), array.data.size());
  return values;
}

}  // namespace

StoredArray packed_array(std::string name, MatrixView<const std::uint8_t> codes, int bits,
                         bool required) {
  StoredArray array;
  array.name = std::move(name);
  array.shape = {codes.rows, codes.cols};
  array.packed_bits = bits;
  array.required = required;
  array.data.resize(static_cast<std::size_t>(codes.rows * packed_row_bytes(codes.cols, bits)));
  pack_codes(Place{}, codes, bits, array.data);
  return array;
}

StoredArray half_array(std::string name, MatrixView<const std::uint16_t> bits, DType dtype,
                       bool required) {
  BITGRID_ASSERT(dtype == DType::f16 || dtype == DType::bf16);
  StoredArray array = plain_array(std::move(name), dtype, {bits.rows, bits.cols}, required);
  const auto row_bytes = static_cast<std::size_t>(bits.cols) * sizeof(std::uint16_t);
  for (std::int64_t r = 0; r < bits.rows && row_bytes > 0; ++r)
    std::memcpy(array.data.data() + static_cast<std::size_t>(r) * row_bytes, bits.row(r),
                row_bytes);
  return array;
}

StoredArray matrix_array(std::string name, MatrixView<const float> values, bool required) {
  StoredArray array =
      plain_array(std::move(name), DType::f32, {values.rows, values.cols}, required);
  const auto row_bytes = static_cast<std::size_t>(values.cols) * sizeof(float);
  for (std::int64_t r = 0; r < values.rows && row_bytes > 0; ++r)
    std::memcpy(array.data.data() + static_cast<std::size_t>(r) * row_bytes, values.row(r),
                row_bytes);
  return array;
}

StoredArray index_array(std::string name, std::span<const std::int32_t> values, bool required) {
  return vector_array(std::move(name), DType::i32, values, required);
}

StoredArray float_array(std::string name, std::span<const float> values, bool required) {
  return vector_array(std::move(name), DType::f32, values, required);
}

StoredArray bf16_array(std::string name, std::span<const float> values, bool required) {
  std::vector<std::uint16_t> bits;
  for (const float value : values) bits.push_back(f32_to_bf16(value));
  return vector_array<std::uint16_t>(std::move(name), DType::bf16, bits, required);
}

const StoredArray& expect_array(const QuantizedLinear& linear, const ArrayShape& expected) {
  const auto& [name, shape, dtype, packed_bits] = expected;
  const StoredArray* array = linear.find(name);
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

Matrix<std::uint8_t> read_packed(const QuantizedLinear& linear, const std::string& name,
                                 std::int64_t rows, std::int64_t cols, int bits) {
  const StoredArray& array = expect_array(linear, {name, {rows, cols}, DType::u8, bits});
  Matrix<std::uint8_t> codes(rows, cols);
  unpack_codes(Place{}, array.data, bits, codes.view());
  return codes;
}

Matrix<float> read_halves(const QuantizedLinear& linear, const std::string& name, std::int64_t rows,
                          std::int64_t cols) {
  const StoredArray& array = expect_array(linear, {name, {rows, cols}, DType::f16, 0});
  Matrix<float> values(rows, cols);
  for (std::int64_t i = 0; i < values.size(); ++i) {
    std::uint16_t half = 0;
    std::memcpy(&half, array.data.data() + 2 * i, sizeof half);
    values.data()[i] = f16_to_f32(half);
  }
  return values;
}

Matrix<float> read_scales(const QuantizedLinear& linear, const std::string& name, std::int64_t rows,
                          std::int64_t cols) {
  const StoredArray* stored = linear.find(name);
  if (stored == nullptr || stored->dtype != DType::f32)
    return read_halves(linear, name, rows, cols);
  const StoredArray& array = expect_array(linear, {name, {rows, cols}, DType::f32, 0});
  Matrix<float> values(rows, cols);
  if (!values.empty()) std::memcpy(values.data(), array.data.data(), array.data.size());
  return values;
}

std::vector<float> read_floats(const QuantizedLinear& linear, const std::string& name,
                               std::int64_t count) {
  return read_vector<float>(linear, name, DType::f32, count);
}

std::vector<std::int32_t> read_indices(const QuantizedLinear& linear, const std::string& name,
                                       std::int64_t count) {
  return read_vector<std::int32_t>(linear, name, DType::i32, count);
}

}  // namespace bitgrid
