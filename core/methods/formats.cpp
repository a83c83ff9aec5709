#include "core/methods/formats.hpp"

#include <fmt/format.h>

#include "core/methods/grid.hpp"
#include "core/methods/mixed_width.hpp"
#include "core/methods/stored_arrays.hpp"
#include "kernels/error.hpp"
#include "kernels/fdb_rows.hpp"
#include "kernels/parallel.hpp"
#include "kernels/round_to_grid.hpp"

namespace bitgrid {
namespace {

std::vector<std::int32_t> read_groups(const QuantizedLinear& linear, std::int64_t group,
                                      std::int64_t groups) {
  if (linear.find("group_index") == nullptr) return natural_groups(linear.cols, group);
  std::vector<std::int32_t> index = read_indices(linear, "group_index", linear.cols);
  for (const std::int32_t g : index)
    if (g < 0 || g >= groups)
      throw Error(
          fmt::format("{}: group_index holds {}, there are {} groups", linear.name, g, groups));
  return index;
}

Matrix<std::uint8_t> read_zeros(const QuantizedLinear& linear, std::int64_t groups) {
  if (linear.find("zeros") != nullptr)
    return read_packed(linear, "zeros", linear.rows, groups, linear.bits);
  Matrix<std::uint8_t> zeros(linear.rows, groups);
  zeros.fill(static_cast<std::uint8_t>(1 << (linear.bits - 1)));
  return zeros;
}

}  // namespace

Matrix<float> rebuild_uniform(const Place& place, const QuantizedLinear& linear) {
  const std::int64_t group = linear.group < 0 ? linear.cols : linear.group;
  const std::int64_t groups = linear.cols / group;
  const Matrix<std::uint8_t> codes =
      read_packed(linear, "codes", linear.rows, linear.cols, linear.bits);
  const Matrix<float> scales = read_halves(linear, "scales", linear.rows, groups);
  const Matrix<std::uint8_t> zeros = read_zeros(linear, groups);
  Matrix<float> w(linear.rows, linear.cols);
  dequantize(place, codes.view(), read_groups(linear, group, groups), scales.view(), zeros.view(),
             w.view());
  return w;
}

Matrix<float> rebuild_two_binary(const Place& place, const QuantizedLinear& linear) {
  const std::int64_t group = linear.group < 0 ? linear.cols : linear.group;
  const std::int64_t groups = linear.cols / group;
  const Matrix<std::uint8_t> plane1 = read_packed(linear, "plane1", linear.rows, linear.cols, 1);
  const Matrix<std::uint8_t> plane2 = read_packed(linear, "plane2", linear.rows, linear.cols, 1);
  const Matrix<float> scales1 = read_halves(linear, "scales1", linear.rows, groups);
  const Matrix<float> scales2 = read_halves(linear, "scales2", linear.rows, groups);
  Matrix<float> w(linear.rows, linear.cols);
  parallel_for(place, linear.rows, [&](std::int64_t r) {
    for (std::int64_t j = 0; j < linear.cols; ++j) {
      const auto code = static_cast<std::uint8_t>(2 * plane1(r, j) + plane2(r, j));
      w(r, j) = fdb_value(code, scales1(r, j / group), scales2(r, j / group));
    }
  });
  return w;
}

RebuildWeight find_format(const std::string& format) {
  if (format == "uniform") return rebuild_uniform;
  if (format == "mixed-width") return rebuild_mixed_width;
  if (format == "two-binary") return rebuild_two_binary;
  return nullptr;
}

}  // namespace bitgrid
