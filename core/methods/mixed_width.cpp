#include "core/methods/mixed_width.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "core/methods/stored_arrays.hpp"
#include "kernels/error.hpp"
#include "kernels/pack_codes.hpp"
#include "kernels/parallel.hpp"
#include "kernels/slab_rows.hpp"

namespace bitgrid {
namespace {

// Runs of codes of different widths, one after the other, each ending with a whole byte.
class CodeBytes {
 public:
  void append(MatrixView<const std::uint8_t> codes, int bits) {
    Matrix<std::uint8_t> run(1, codes.rows * codes.cols);
    for (std::int64_t r = 0; r < codes.rows; ++r)
      std::copy_n(codes.row(r), codes.cols, run.data() + r * codes.cols);
    const std::size_t start = bytes_.size();
    bytes_.resize(start + static_cast<std::size_t>(packed_row_bytes(run.cols(), bits)));
    pack_codes(Place{}, run.view(), bits, std::span(bytes_).subspan(start));
  }
  StoredArray array(std::string name) && {
    StoredArray array;
    array.name = std::move(name);
    array.shape = {std::ssize(bytes_)};
    array.data = std::move(bytes_);
    return array;
  }

 private:
  std::vector<std::byte> bytes_;
};

struct Layout {
  std::int64_t group = 0, slabs = 0;
  std::vector<int> widths;            // [slabs]
  std::vector<std::int64_t> code_at;  // [slabs + 1] byte offsets
  std::vector<std::int64_t> zero_at;  // [slabs + 1]
  std::vector<std::int64_t> mean_at;  // [slabs + 1] columns of means
};

Layout read_layout(const QuantizedLinear& linear) {
  Layout layout;
  layout.group = linear.group < 0 ? linear.cols : linear.group;
  layout.slabs = linear.cols / layout.group;
  const Matrix<std::uint8_t> codes = read_packed(linear, "widths", 1, layout.slabs, 2);
  layout.code_at = layout.zero_at = layout.mean_at = {0};
  for (std::int64_t s = 0; s < layout.slabs; ++s) {
    const int width = linear.bits - 1 + codes(0, s);
    if (codes(0, s) > 2 || width < 1 || width > 8)
      throw Error(
          fmt::format("{}: array 'widths' gives slab {} {} bits; they are 1 to 8, and at "
                      "most one off {}",
                      linear.name, s, width, linear.bits));
    layout.widths.push_back(width);
    layout.code_at.push_back(layout.code_at.back() +
                             packed_row_bytes(linear.rows * layout.group, width));
    layout.zero_at.push_back(layout.zero_at.back() +
                             (width > 1 ? packed_row_bytes(linear.rows, width) : 0));
    layout.mean_at.push_back(layout.mean_at.back() + (width > 1 ? 0 : 1));
  }
  return layout;
}

// `count` codes of the array's bytes [begin, end).
Matrix<std::uint8_t> unpack_run(const StoredArray& array, std::int64_t begin, std::int64_t end,
                                int bits, std::int64_t count) {
  Matrix<std::uint8_t> codes(1, count);
  unpack_codes(Place{},
               std::span(array.data)
                   .subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin)),
               bits, codes.view());
  return codes;
}

void clear_dead(const QuantizedLinear& linear, const Layout& layout, Matrix<float>& w) {
  const StoredArray* array = linear.find("dead");
  if (array == nullptr) return;
  const std::int64_t count = array->shape.size() == 1 ? array->shape[0] : -1;
  if (count < 0 || count > linear.cols)
    throw Error(fmt::format("{}: array 'dead' must be a list of columns", linear.name));
  for (const std::int32_t j : read_indices(linear, "dead", count)) {
    if (j < 0 || j >= linear.cols || layout.widths[static_cast<std::size_t>(j / layout.group)] != 1)
      throw Error(fmt::format("{}: array 'dead' holds {}, which is no column of a one-bit slab",
                              linear.name, j));
    for (std::int64_t r = 0; r < linear.rows; ++r) w(r, j) = 0;
  }
}

}  // namespace

void store_mixed_width(const MixedWidth& parts, QuantizedLinear& linear) {
  linear.format = "mixed-width";
  const auto slabs = std::ssize(parts.widths);
  const std::int64_t group = parts.codes.cols / slabs;
  CodeBytes codes, zeros;
  Matrix<std::uint8_t> widths(1, slabs);
  std::vector<std::int64_t> binary;
  for (std::int64_t s = 0; s < slabs; ++s) {
    const int width = parts.widths[static_cast<std::size_t>(s)];
    widths(0, s) = static_cast<std::uint8_t>(width - (linear.bits - 1));
    codes.append(parts.codes.cols_from(s * group, group), width);
    if (width > 1)
      zeros.append(parts.zeros.cols_from(s, 1), width);
    else
      binary.push_back(s);
  }
  linear.arrays.push_back(packed_array("widths", widths.view(), 2));
  linear.arrays.push_back(std::move(codes).array("codes"));
  linear.arrays.push_back(half_array("scales", parts.scales));
  linear.arrays.push_back(std::move(zeros).array("zeros"));
  if (binary.empty()) return;
  Matrix<std::uint16_t> means(parts.means.rows, std::ssize(binary));
  for (std::int64_t r = 0; r < means.rows(); ++r)
    for (std::int64_t i = 0; i < means.cols(); ++i)
      means(r, i) = parts.means(r, binary[static_cast<std::size_t>(i)]);
  linear.arrays.push_back(half_array("means", means.view()));
  std::vector<std::int32_t> dead;
  for (const std::int32_t j : parts.dead)
    if (parts.widths[static_cast<std::size_t>(j / group)] == 1) dead.push_back(j);
  if (!dead.empty()) linear.arrays.push_back(index_array("dead", dead, true));
}

Matrix<float> rebuild_mixed_width(const Place& place, const QuantizedLinear& linear) {
  const Layout layout = read_layout(linear);
  const std::int64_t rows = linear.rows, group = layout.group;
  const StoredArray& codes = expect_array(linear, {"codes", {layout.code_at.back()}, DType::u8, 0});
  const StoredArray& zeros = expect_array(linear, {"zeros", {layout.zero_at.back()}, DType::u8, 0});
  const Matrix<float> scales = read_halves(linear, "scales", rows, layout.slabs);
  Matrix<float> means;
  if (layout.mean_at.back() > 0) means = read_halves(linear, "means", rows, layout.mean_at.back());
  Matrix<float> w(rows, linear.cols);
  parallel_for(place, layout.slabs, [&](std::int64_t slab) {
    const auto s = static_cast<std::size_t>(slab);
    const int width = layout.widths[s];
    const Matrix<std::uint8_t> code =
        unpack_run(codes, layout.code_at[s], layout.code_at[s + 1], width, rows * group);
    Matrix<std::uint8_t> zero;
    if (width > 1) zero = unpack_run(zeros, layout.zero_at[s], layout.zero_at[s + 1], width, rows);
    for (std::int64_t r = 0; r < rows; ++r) {
      const float z = width > 1 ? static_cast<float>(zero(0, r)) : means(r, layout.mean_at[s]);
      for (std::int64_t j = 0; j < group; ++j)
        w(r, slab * group + j) = slab_value(width, code(0, r * group + j), scales(r, slab), z);
    }
  });
  clear_dead(linear, layout, w);
  return w;
}

}  // namespace bitgrid
