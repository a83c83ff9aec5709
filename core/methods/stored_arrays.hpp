#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "core/methods/quantized_linear.hpp"
#include "kernels/matrix.hpp"

namespace bitgrid {

// Arrays of a QuantizedLinear from what a method computed. `required`: needed to rebuild the
// weight.

// Unsigned codes of `bits` bits, [rows, cols].
StoredArray packed_array(std::string name, MatrixView<const std::uint8_t> codes, int bits,
                         bool required = true);
// fp16 or bf16 bit patterns, [rows, cols].
StoredArray half_array(std::string name, MatrixView<const std::uint16_t> bits,
                       DType dtype = DType::f16, bool required = true);
// fp32, [rows, cols].
StoredArray matrix_array(std::string name, MatrixView<const float> values, bool required = true);
StoredArray index_array(std::string name, std::span<const std::int32_t> values, bool required);
StoredArray float_array(std::string name, std::span<const float> values, bool required);
// bf16 of fp32 values, [n].
StoredArray bf16_array(std::string name, std::span<const float> values, bool required);

// Reading them back. Each throws Error naming linear and array when the array is missing, or its
// shape, dtype or size is another.
struct ArrayShape {
  std::string name;
  std::vector<std::int64_t> shape;
  DType dtype = DType::u8;
  int packed_bits = 0;
};
const StoredArray& expect_array(const QuantizedLinear& linear, const ArrayShape& expected);
Matrix<std::uint8_t> read_packed(const QuantizedLinear& linear, const std::string& name,
                                 std::int64_t rows, std::int64_t cols, int bits);
// fp16 values widened to fp32, or fp32 values, [rows, cols].
Matrix<float> read_scales(const QuantizedLinear& linear, const std::string& name, std::int64_t rows,
                          std::int64_t cols);
// fp16 values widened to fp32, [rows, cols].
Matrix<float> read_halves(const QuantizedLinear& linear, const std::string& name, std::int64_t rows,
                          std::int64_t cols);
std::vector<float> read_floats(const QuantizedLinear& linear, const std::string& name,
                               std::int64_t count);
std::vector<std::int32_t> read_indices(const QuantizedLinear& linear, const std::string& name,
                                       std::int64_t count);

}  // namespace bitgrid
