#include "core/methods/binary_formats.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "core/methods/stored_arrays.hpp"
#include "kernels/binary_values.hpp"
#include "kernels/error.hpp"
#include "kernels/grid.hpp"
#include "kernels/row_tiles.hpp"

namespace bitgrid {
namespace {

MatrixView<const std::uint8_t> one_row(std::span<const std::uint8_t> values) {
  return {values.data(), 1, std::ssize(values)};
}

std::vector<std::uint8_t> read_row(const QuantizedLinear& linear, const std::string& name,
                                   std::int64_t count, int bits) {
  if (count == 0) return {};
  const Matrix<std::uint8_t> row = read_packed(linear, name, 1, count, bits);
  return {row.data(), row.data() + count};
}

std::vector<std::uint8_t> read_dead(const QuantizedLinear& linear) {
  if (linear.find("dead_columns") == nullptr)
    return std::vector<std::uint8_t>(static_cast<std::size_t>(linear.cols), 0);
  return read_row(linear, "dead_columns", linear.cols, 1);
}

std::int64_t group_columns(const QuantizedLinear& linear) {
  return linear.group < 0 ? linear.cols : linear.group;
}

// Where the salient weights of rows and tiles start.
struct SalientIndex {
  std::vector<std::int32_t> row_offsets;  // [rows]
  std::vector<std::uint8_t> counts;       // [rows, tiles, 2]
  std::int64_t binary = 0, salient = 0;   // all of them
};

template <class KindAt>  // (r, j) -> PbKind
SalientIndex index_salient(std::int64_t rows, std::int64_t cols, const KindAt& kind_at) {
  SalientIndex index;
  for (std::int64_t r = 0; r < rows; ++r) {
    index.row_offsets.push_back(static_cast<std::int32_t>(index.salient));
    std::int64_t count = 0;
    for (std::int64_t j = 0; j < cols; ++j) {
      if (j % kPbCountColumns == 0) {
        index.counts.push_back(static_cast<std::uint8_t>(count & 0xff));
        index.counts.push_back(static_cast<std::uint8_t>(count >> 8 & 0xff));
      }
      const PbKind kind = kind_at(r, j);
      count += kind == PbKind::salient;
      index.binary += kind == PbKind::binary;
    }
    index.salient += count;
  }
  return index;
}

std::vector<std::int64_t> counts_shape(std::int64_t rows, std::int64_t cols) {
  return {rows, (cols + kPbCountColumns - 1) / kPbCountColumns, 2};
}

}  // namespace

float pb_value(PbKind kind, std::uint8_t code, float mean, float deviation, float scale,
               std::uint8_t zero) {
  switch (kind) {
    case PbKind::salient:
      return grid_value(static_cast<float>(code), scale, static_cast<float>(zero));
    case PbKind::binary:
      return binary_value(mean, deviation, code != 0);
    case PbKind::dead:
      break;
  }
  return 0.0f;
}

QuantizedLinear assemble_pb_llm(const PbStored& stored, int salient_bits) {
  QuantizedLinear linear;
  linear.format = "pb-llm";
  linear.rows = stored.kinds.rows;
  linear.cols = stored.kinds.cols;
  linear.bits = salient_bits;
  if (linear.cols > 65535)
    throw Error(
        fmt::format("pb-llm: {} columns; salient weights are counted in 16 bits", linear.cols));
  const auto kind_at = [&](std::int64_t r, std::int64_t j) {
    return static_cast<PbKind>(stored.kinds(r, j));
  };
  const SalientIndex index = index_salient(linear.rows, linear.cols, kind_at);
  if (index.salient > 2147483647)
    throw Error(fmt::format("pb-llm: {} salient weights; offsets have 32 bits", index.salient));
  Matrix<std::uint8_t> binary(linear.rows, linear.cols);
  std::vector<std::uint8_t> signs, codes, dead;
  for (std::int64_t r = 0; r < linear.rows; ++r)
    for (std::int64_t j = 0; j < linear.cols; ++j) {
      const PbKind kind = kind_at(r, j);
      binary(r, j) = kind == PbKind::binary;
      if (kind == PbKind::binary) signs.push_back(stored.codes(r, j));
      if (kind == PbKind::salient) codes.push_back(stored.codes(r, j));
      if (r == 0) dead.push_back(kind == PbKind::dead);
    }
  linear.arrays.push_back(packed_array("binary", binary.view(), 1));
  if (!signs.empty()) linear.arrays.push_back(packed_array("signs", one_row(signs), 1));
  if (!codes.empty())
    linear.arrays.push_back(packed_array("salient_codes", one_row(codes), salient_bits));
  linear.arrays.push_back(index_array("row_offsets", index.row_offsets, true));
  StoredArray counts;
  counts.name = "salient_counts";
  counts.shape = counts_shape(linear.rows, linear.cols);
  const auto bytes = std::as_bytes(std::span(index.counts));
  counts.data.assign(bytes.begin(), bytes.end());
  linear.arrays.push_back(std::move(counts));
  linear.arrays.push_back(half_array("means", stored.means));
  linear.arrays.push_back(half_array("deviations", stored.deviations));
  linear.arrays.push_back(half_array("scales", stored.scales));
  linear.arrays.push_back(packed_array("zeros", stored.zeros, salient_bits));
  if (std::find(dead.begin(), dead.end(), 1) != dead.end())
    linear.arrays.push_back(packed_array("dead_columns", one_row(dead), 1));
  return linear;
}

Matrix<float> rebuild_pb_llm(const Place& place, const QuantizedLinear& linear) {
  const std::int64_t group = group_columns(linear), groups = linear.cols / group;
  const Matrix<std::uint8_t> binary = read_packed(linear, "binary", linear.rows, linear.cols, 1);
  const std::vector<std::uint8_t> dead = read_dead(linear);
  const auto kind_at = [&](std::int64_t r, std::int64_t j) {
    if (dead[static_cast<std::size_t>(j)]) return PbKind::dead;
    return binary(r, j) ? PbKind::binary : PbKind::salient;
  };
  const SalientIndex index = index_salient(linear.rows, linear.cols, kind_at);
  if (read_indices(linear, "row_offsets", linear.rows) != index.row_offsets)
    throw Error(fmt::format("{}: array 'row_offsets' does not agree with 'binary'", linear.name));
  const StoredArray& counts = expect_array(
      linear, {"salient_counts", counts_shape(linear.rows, linear.cols), DType::u8, 0});
  if (!std::ranges::equal(counts.data, std::as_bytes(std::span(index.counts))))
    throw Error(
        fmt::format("{}: array 'salient_counts' does not agree with 'binary'", linear.name));
  const std::vector<std::uint8_t> signs = read_row(linear, "signs", index.binary, 1);
  const std::vector<std::uint8_t> codes =
      read_row(linear, "salient_codes", index.salient, linear.bits);
  const Matrix<float> means = read_halves(linear, "means", linear.rows, groups);
  const Matrix<float> deviations = read_halves(linear, "deviations", linear.rows, groups);
  const Matrix<float> scales = read_halves(linear, "scales", linear.rows, 1);
  const Matrix<std::uint8_t> zeros = read_packed(linear, "zeros", linear.rows, 1, linear.bits);
  const std::int64_t live = linear.cols - std::count(dead.begin(), dead.end(), 1);
  Matrix<float> w(linear.rows, linear.cols);
  for_row_tiles(place, linear.rows, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r) {
      auto salient = static_cast<std::size_t>(index.row_offsets[static_cast<std::size_t>(r)]);
      auto sign = static_cast<std::size_t>(r * live) - salient;
      for (std::int64_t j = 0; j < linear.cols; ++j) {
        const PbKind kind = kind_at(r, j);
        const std::uint8_t code = kind == PbKind::binary    ? signs[sign++]
                                  : kind == PbKind::salient ? codes[salient++]
                                                            : std::uint8_t{0};
        w(r, j) = pb_value(kind, code, means(r, j / group), deviations(r, j / group), scales(r, 0),
                           zeros(r, 0));
      }
    }
  });
  return w;
}

QuantizedLinear assemble_billm(const BillmStored& stored) {
  QuantizedLinear linear;
  linear.format = "billm";
  linear.rows = stored.codes.rows;
  linear.cols = stored.codes.cols;
  linear.bits = 2;
  Matrix<std::uint8_t> plane(linear.rows, linear.cols);
  for (const int bit : {0, 1}) {
    for (std::int64_t r = 0; r < linear.rows; ++r)
      for (std::int64_t j = 0; j < linear.cols; ++j)
        plane(r, j) = static_cast<std::uint8_t>(stored.codes(r, j) >> bit & 1);
    linear.arrays.push_back(packed_array(bit == 0 ? "signs" : "seconds", plane.view(), 1));
  }
  linear.arrays.push_back(packed_array("salient_columns", one_row(stored.salient), 1));
  if (std::find(stored.dead.begin(), stored.dead.end(), 1) != stored.dead.end())
    linear.arrays.push_back(packed_array("dead_columns", one_row(stored.dead), 1));
  for (int i = 0; i < static_cast<int>(std::size(kBillmParameters)); ++i)
    if (stored.means || (i != 0 && i != 2))
      linear.arrays.push_back(
          half_array(kBillmParameters[i], stored.parameters[static_cast<std::size_t>(i)].view()));
  return linear;
}

Matrix<float> rebuild_billm(const Place& place, const QuantizedLinear& linear) {
  const std::int64_t slab = group_columns(linear), slabs = linear.cols / slab;
  const Matrix<std::uint8_t> signs = read_packed(linear, "signs", linear.rows, linear.cols, 1);
  const Matrix<std::uint8_t> seconds = read_packed(linear, "seconds", linear.rows, linear.cols, 1);
  const std::vector<std::uint8_t> salient = read_row(linear, "salient_columns", linear.cols, 1);
  const std::vector<std::uint8_t> dead = read_dead(linear);
  std::vector<Matrix<float>> parameters;
  for (const char* name : kBillmParameters) {
    const bool optional =
        name == std::string("concentrated_mean") || name == std::string("sparse_mean");
    if (optional && linear.find(name) == nullptr) {
      parameters.emplace_back(linear.rows, slabs).fill(0.0f);
      continue;
    }
    parameters.push_back(read_halves(linear, name, linear.rows, slabs));
  }
  Matrix<float> w(linear.rows, linear.cols);
  for_row_tiles(place, linear.rows, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t r = begin; r < end; ++r)
      for (std::int64_t j = 0; j < linear.cols; ++j) {
        const auto at = [&](std::size_t i) { return parameters[i](r, j / slab); };
        const bool positive = signs(r, j) != 0, second = seconds(r, j) != 0;
        const std::size_t set = second ? 2 : 0;
        const auto column = static_cast<std::size_t>(j);
        w(r, j) = dead[column]      ? 0.0f
                  : salient[column] ? residual_value(at(4), at(5), at(6), positive, second)
                                    : binary_value(at(set), at(set + 1), positive);
      }
  });
  return w;
}

}  // namespace bitgrid
