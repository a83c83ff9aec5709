#include "core/methods/rounding.hpp"

#include <algorithm>
#include <cstring>
#include <span>

#include "core/methods/grid.hpp"
#include "kernels/error.hpp"
#include "kernels/gptq_rows.hpp"
#include "kernels/pack_codes.hpp"

namespace bitgrid {
namespace {

StoredArray packed_array(const std::string& name, MatrixView<const std::uint8_t> codes, int bits) {
  StoredArray array;
  array.name = name;
  array.shape = {codes.rows, codes.cols};
  array.packed_bits = bits;
  array.data.resize(static_cast<std::size_t>(codes.rows * packed_row_bytes(codes.cols, bits)));
  pack_codes(Place{}, codes, bits, array.data);
  return array;
}

StoredArray index_array(const std::string& name, std::span<const std::int32_t> values,
                        bool required) {
  StoredArray array;
  array.name = name;
  array.dtype = DType::i32;
  array.shape = {static_cast<std::int64_t>(values.size())};
  array.required = required;
  array.data.resize(values.size_bytes());
  std::memcpy(array.data.data(), values.data(), values.size_bytes());
  return array;
}

StoredArray scale_array(MatrixView<const std::uint16_t> scales) {
  StoredArray array;
  array.name = "scales";
  array.dtype = DType::f16;
  array.shape = {scales.rows, scales.cols};
  const auto row_bytes = static_cast<std::size_t>(scales.cols) * sizeof(std::uint16_t);
  array.data.resize(static_cast<std::size_t>(scales.rows) * row_bytes);
  for (std::int64_t r = 0; r < scales.rows; ++r)
    std::memcpy(array.data.data() + static_cast<std::size_t>(r) * row_bytes, scales.row(r),
                row_bytes);
  return array;
}

// Mode act: the group of a column follows its position.
std::vector<std::int32_t> permuted_groups(const std::vector<std::int32_t>& order,
                                          std::int64_t group) {
  std::vector<std::int32_t> groups(order.size());
  for (std::size_t i = 0; i < order.size(); ++i)
    groups[static_cast<std::size_t>(order[i])] =
        static_cast<std::int32_t>(static_cast<std::int64_t>(i) / group);
  return groups;
}

}  // namespace

// Many tiles for many threads and ranks, and the tile in which the column loop works anyway.
std::int64_t solve_tile_rows(std::int64_t rows) {
  constexpr std::int64_t kLanes = 16;  // rows that the column loop takes side by side
  const std::int64_t sixteenth = (rows + 15) / 16;
  return std::clamp((sixteenth + kLanes - 1) / kLanes * kLanes, kLanes, kGptqTileRows);
}

std::int64_t group_count(std::int64_t cols, std::int64_t group) {
  return group < 0 ? 1 : (cols + group - 1) / group;
}

QuantizedLinear assemble_linear(const Recipe& recipe, const Prepared& prepared,
                                const std::string& name, MatrixView<const std::uint8_t> codes,
                                MatrixView<const std::uint16_t> scales,
                                MatrixView<const std::uint8_t> zeros) {
  const std::int64_t groups = group_count(codes.cols, recipe.group);
  BITGRID_ASSERT(scales.rows == codes.rows && scales.cols == groups);
  BITGRID_ASSERT(zeros.rows == codes.rows && zeros.cols == groups);
  QuantizedLinear linear;
  linear.name = name;
  linear.format = "uniform";
  linear.rows = codes.rows;
  linear.cols = codes.cols;
  linear.bits = static_cast<int>(recipe.bits);
  linear.group = recipe.group;
  linear.arrays.push_back(packed_array("codes", codes, linear.bits));
  linear.arrays.push_back(scale_array(scales));
  if (!recipe.flag("symmetric")) linear.arrays.push_back(packed_array("zeros", zeros, linear.bits));
  if (!prepared.order.empty()) {
    if (recipe.word("order") == "act" && groups > 1)
      linear.arrays.push_back(
          index_array("group_index", permuted_groups(prepared.order, recipe.group), true));
    linear.arrays.push_back(index_array("order", prepared.order, false));
  }
  LinearDiagnostics& d = linear.diagnostics;
  d.damping = prepared.damping;
  d.damping_attempts = prepared.damping_attempts;
  d.fallback = prepared.fallback;
  d.dead_columns = static_cast<std::int64_t>(prepared.dead.size());
  d.factor_s = prepared.factor_s;
  return linear;
}

}  // namespace bitgrid
