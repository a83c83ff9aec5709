#include "kernels/fdb_rows.hpp"

#include <string>

#include "kernels/error.hpp"

namespace bitgrid {

void fdb_rows(const Place& place, const FdbColumns& columns, MatrixView<const float> w,
              MatrixView<float> scale1, MatrixView<float> scale2, MatrixView<std::uint8_t> codes,
              std::span<double> loss) {
  const std::int64_t in = w.cols;
  if (columns.group < 1 || in % columns.group != 0)
    throw Error("fdb_rows: group " + std::to_string(columns.group) + " does not divide " +
                std::to_string(in) + " columns");
  const bool shared_fit =
      columns.factor.rows == 0 || (columns.factor.rows == in && columns.factor.cols == in);
  const auto weights = static_cast<std::int64_t>(columns.weights.size());
  if (!shared_fit || (weights != 0 && weights != in) || columns.scale_steps < 0)
    throw Error("fdb_rows: factor must be [in, in] and weights [in], or empty; in = " +
                std::to_string(in));
  const auto rows_and = [&](auto view, std::int64_t cols) {
    return view.rows == w.rows && view.cols == cols;
  };
  if (!rows_and(scale1, in / columns.group) || !rows_and(scale2, in / columns.group) ||
      !rows_and(codes, in) || static_cast<std::int64_t>(loss.size()) != w.rows)
    throw Error("fdb_rows: scales, codes and loss must have one row per row of w, " +
                std::to_string(w.rows));
  switch (place.device) {
    case Device::cpu:
      return cpu::fdb_rows(place, columns, w, scale1, scale2, codes, loss);
    case Device::cuda:
      return cuda::fdb_rows(place, columns, w, scale1, scale2, codes, loss);
  }
}

}  // namespace bitgrid
