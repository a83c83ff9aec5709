#include "kernels/ldlq_rows.hpp"

#include <string>

#include "kernels/error.hpp"

namespace bitgrid {

void ldlq_rows(const Place& place, const LdlqColumns& columns, MatrixView<const float> w,
               MatrixView<std::uint8_t> codes, MatrixView<double> loss) {
  const std::int64_t in = w.cols;
  const auto length = [](auto values) { return static_cast<std::int64_t>(values.size()); };
  if (length(columns.order) != in)
    throw Error("ldlq_rows: order must be [in], in = " + std::to_string(in));
  for (const std::int32_t column : columns.order)
    if (column < 0 || column >= in)
      throw Error("ldlq_rows: column " + std::to_string(column) + " of " + std::to_string(in));
  const MatrixView<const float> g = columns.feedback;
  if (g.rows != 0 && (g.rows != in || g.cols != in || length(columns.d) != in))
    throw Error("ldlq_rows: feedback must be [in, in] and d [in], in = " + std::to_string(in));
  if (columns.greedy_passes > 0 && g.rows != 0 && (columns.h.rows != in || columns.h.cols != in))
    throw Error("ldlq_rows: greedy passes need h, [in, in], in = " + std::to_string(in));
  if (codes.rows != w.rows || codes.cols != in || loss.rows != w.rows || loss.cols != 2)
    throw Error("ldlq_rows: codes must be [rows, in] and loss [rows, 2], rows = " +
                std::to_string(w.rows));
  if (columns.block < 1 || columns.greedy_passes < 0 || columns.bits < 1 || columns.bits > 8)
    throw Error("ldlq_rows: block must be positive, passes not negative and bits 1 to 8");
  if (!(columns.delta > 0)) throw Error("ldlq_rows: delta must be positive");
  switch (place.device) {
    case Device::cpu:
      return cpu::ldlq_rows(place, columns, w, codes, loss);
    case Device::cuda:
      return cuda::ldlq_rows(place, columns, w, codes, loss);
  }
}

}  // namespace bitgrid
