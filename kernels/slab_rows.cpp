#include "kernels/slab_rows.hpp"

#include <string>

#include "kernels/error.hpp"

namespace bitgrid {

void slab_rows(const Place& place, const SlabColumns& columns, MatrixView<const float> w,
               MatrixView<float> scale, MatrixView<float> zero, MatrixView<std::uint8_t> codes,
               std::span<double> loss) {
  const std::int64_t in = w.cols;
  const auto length = [](auto values) { return static_cast<std::int64_t>(values.size()); };
  if (columns.group < 1 || in % columns.group != 0 || length(columns.widths) != in / columns.group)
    throw Error("slab_rows: group must divide in = " + std::to_string(in) +
                ", with one width per slab");
  for (const int width : columns.widths)
    if (width < 1 || width > 8)
      throw Error("slab_rows: a slab has 1 to 8 bits, not " + std::to_string(width));
  const auto is = [](auto view, std::int64_t rows, std::int64_t cols) {
    return view.rows == rows && view.cols == cols;
  };
  if ((columns.factor.rows != 0 && !is(columns.factor, in, in)) ||
      (columns.element_weights.rows != 0 && !is(columns.element_weights, w.rows, in)) ||
      (!columns.dead.empty() && length(columns.dead) != in))
    throw Error(
        "slab_rows: factor must be [in, in], element_weights [rows, in] and dead [in], or "
        "empty; in = " +
        std::to_string(in));
  if (columns.search == SlabSearch::hessian && columns.factor.rows == 0)
    throw Error("slab_rows: a search by U needs U");
  if (!is(scale, w.rows, length(columns.widths)) || !is(zero, w.rows, length(columns.widths)) ||
      !is(codes, w.rows, in) || length(loss) != w.rows)
    throw Error("slab_rows: scale, zero, codes and loss must have one row per row of w, " +
                std::to_string(w.rows));
  switch (place.device) {
    case Device::cpu:
      return cpu::slab_rows(place, columns, w, scale, zero, codes, loss);
    case Device::cuda:
      return cuda::slab_rows(place, columns, w, scale, zero, codes, loss);
  }
}

}  // namespace bitgrid
