#include "core/methods/formats.hpp"

#include <fmt/format.h>

#include "core/methods/grid.hpp"
#include "core/methods/stored_arrays.hpp"
#include "kernels/error.hpp"
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
  const Matrix<float> scales = read_scales(linear, "scales", linear.rows, groups);
  const Matrix<std::uint8_t> zeros = read_zeros(linear, groups);
  Matrix<float> w(linear.rows, linear.cols);
  dequantize(place, codes.view(), read_groups(linear, group, groups), scales.view(), zeros.view(),
             w.view());
  return w;
}

RebuildWeight find_format(const std::string& format) {
  if (format == "uniform") return rebuild_uniform;
  return nullptr;
}

}  // namespace bitgrid
