#include "kernels/gptq_rows.hpp"

#include <algorithm>
#include <string>

#include "kernels/error.hpp"

namespace bitgrid {

std::int64_t gptq_block_end(const GptqColumns& columns, std::int64_t in, std::int64_t first) {
  const std::int64_t end = std::min(in, first + columns.block);
  const std::int64_t group = columns.dynamic_group;
  if (group == 0 || columns.stale_range) return end;
  const std::int64_t last_start = (end - 1) / group * group;
  return last_start > first && last_start + group > end ? last_start : end;
}

void gptq_rows(const Place& place, const GptqColumns& columns, MatrixView<const float> w,
               MatrixView<float> scales, MatrixView<std::uint8_t> zeros,
               MatrixView<std::uint8_t> codes, std::span<double> loss) {
  const std::int64_t in = w.cols;
  const auto length = [](auto values) { return static_cast<std::int64_t>(values.size()); };
  if (columns.factor.rows != in || columns.factor.cols != in || length(columns.group_of) != in ||
      (!columns.order.empty() && length(columns.order) != in))
    throw Error("gptq_rows: factor must be [in, in], order and group_of [in], in = " +
                std::to_string(in));
  if (scales.rows != w.rows || zeros.rows != w.rows || zeros.cols != scales.cols ||
      codes.rows != w.rows || codes.cols != in || length(loss) != w.rows)
    throw Error("gptq_rows: scales, zeros, codes and loss must have one row per row of w, " +
                std::to_string(w.rows));
  if (columns.block < 1 || columns.dynamic_group < 0 || columns.grid.bits < 2 ||
      columns.grid.bits > 8)
    throw Error("gptq_rows: block must be positive and bits 2 to 8");
  if (columns.dynamic_group > 0 && in % columns.dynamic_group != 0)
    throw Error("gptq_rows: group " + std::to_string(columns.dynamic_group) + " does not divide " +
                std::to_string(in) + " columns");
  for (const std::int32_t group : columns.group_of)
    if (group < 0 || group >= scales.cols)
      throw Error("gptq_rows: group " + std::to_string(group) + " of " +
                  std::to_string(scales.cols));
  switch (place.device) {
    case Device::cpu:
      return cpu::gptq_rows(place, columns, w, scales, zeros, codes, loss);
    case Device::cuda:
      return cuda::gptq_rows(place, columns, w, scales, zeros, codes, loss);
  }
}

}  // namespace bitgrid
