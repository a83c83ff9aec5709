#include "kernels/pb_rows.hpp"

#include <string>

#include "kernels/error.hpp"

namespace bitgrid {
namespace {

template <class T>
void check_shape(const char* what, const MatrixView<T>& view, std::int64_t rows,
                 std::int64_t cols) {
  if (view.rows != rows || view.cols != cols)
    throw Error(std::string("pb_rows: ") + what + " must be [" + std::to_string(rows) + ", " +
                std::to_string(cols) + "]");
}

std::int64_t groups_of(std::int64_t cols, std::int64_t group) {
  if (group < 1) throw Error("pb_rows: group must be positive");
  return (cols + group - 1) / group;
}

}  // namespace

void pb_parameters(const Place& place, std::int64_t group, bool diluted, MatrixView<const float> w,
                   MatrixView<const std::uint8_t> kinds, MatrixView<float> means,
                   MatrixView<float> deviations) {
  const std::int64_t groups = groups_of(w.cols, group);
  check_shape("kinds", kinds, w.rows, w.cols);
  check_shape("means", means, w.rows, groups);
  check_shape("deviations", deviations, w.rows, groups);
  switch (place.device) {
    case Device::cpu:
      return cpu::pb_parameters(place, group, diluted, w, kinds, means, deviations);
    case Device::cuda:
      return cuda::pb_parameters(place, group, diluted, w, kinds, means, deviations);
  }
}

void pb_rows(const Place& place, const PbColumns& columns, const PbRows& rows) {
  const std::int64_t n = rows.w.rows, in = rows.w.cols, groups = groups_of(in, columns.group);
  check_shape("kinds", rows.kinds, n, in);
  check_shape("means", rows.means, n, groups);
  check_shape("deviations", rows.deviations, n, groups);
  check_shape("scales", rows.scales, n, 1);
  check_shape("zeros", rows.zeros, n, 1);
  check_shape("codes", rows.codes, n, in);
  if (columns.factor.rows > 0) check_shape("factor", columns.factor, in, in);
  if (std::ssize(rows.loss) != n || std::ssize(rows.saturated) != n)
    throw Error("pb_rows: loss and saturated must have one value per row");
  if (columns.block < 1 || columns.salient_bits < 2 || columns.salient_bits > 8)
    throw Error("pb_rows: block must be positive and salient bits 2 to 8");
  switch (place.device) {
    case Device::cpu:
      return cpu::pb_rows(place, columns, rows);
    case Device::cuda:
      return cuda::pb_rows(place, columns, rows);
  }
}

}  // namespace bitgrid
