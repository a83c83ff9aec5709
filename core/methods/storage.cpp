#include "core/methods/storage.hpp"

#include <iterator>
#include <string>

#include "core/methods/billm.hpp"
#include "core/methods/binary_formats.hpp"
#include "core/methods/fdb.hpp"
#include "core/methods/gptq.hpp"
#include "core/methods/grid.hpp"
#include "core/methods/incoherent_format.hpp"
#include "core/methods/pb_llm.hpp"
#include "core/methods/quip.hpp"
#include "core/methods/recipe_needs.hpp"
#include "core/methods/resolve_recipe.hpp"
#include "core/methods/rtn.hpp"
#include "core/methods/slim.hpp"
#include "kernels/error.hpp"
#include "kernels/pack_codes.hpp"

namespace bitgrid {
namespace {

constexpr std::int64_t kHalf = 2, kFloat = 4, kIndex = 4;

struct Shape {
  Linear linear;
  std::int64_t rows, cols;
};

std::int64_t matrix_bytes(std::int64_t rows, std::int64_t cols, int bits) {
  return rows * packed_row_bytes(cols, bits);
}

StoredBytes uniform(const Recipe& recipe, const Shape& shape) {
  const int bits = static_cast<int>(recipe.bits);
  const UniformGrid grid = recipe_grid(recipe);
  const std::int64_t groups = group_count(shape.cols, recipe.group);
  StoredBytes bytes;
  bytes.required = matrix_bytes(shape.rows, shape.cols, bits) +
                   shape.rows * groups * (grid.scale_f16 ? kHalf : kFloat);
  if (!grid.symmetric) bytes.required += matrix_bytes(shape.rows, groups, bits);
  const auto order = recipe.options.find("order");
  const std::string word =
      order == recipe.options.end() ? "none" : std::get<std::string>(order->second);
  if (word == "act" && groups > 1) bytes.required += kIndex * shape.cols;
  bytes.all = bytes.required + (word != "none" ? kIndex * shape.cols : 0);
  return bytes;
}

StoredBytes incoherent(const Recipe& recipe, const Shape& shape) {
  const IncoherentBytes bytes = incoherent_bytes(recipe, shape.linear, shape.rows, shape.cols);
  return {bytes.required, bytes.all};
}

StoredBytes pb_llm(const Recipe& recipe, const Shape& shape) {
  const int salient_bits = std::stoi(recipe.word("salient_bits"));
  const std::int64_t binary = pb_binary_weights(recipe, shape.rows, shape.cols);
  const std::int64_t tiles = (shape.cols + kPbCountColumns - 1) / kPbCountColumns;
  StoredBytes bytes;
  bytes.required = matrix_bytes(shape.rows, shape.cols, 1) + packed_row_bytes(binary, 1) +
                   packed_row_bytes(shape.rows * shape.cols - binary, salient_bits);
  bytes.required += shape.rows * (kIndex + 2 * tiles);  // where salient weights start
  bytes.required += shape.rows * 2 * kHalf * group_count(shape.cols, recipe.group);
  bytes.required += shape.rows * (kHalf + packed_row_bytes(1, salient_bits));
  bytes.all = bytes.required + kIndex;  // how many weights left their grid
  return bytes;
}

StoredBytes billm(const Recipe& recipe, const Shape& shape) {
  const std::int64_t slabs = group_count(shape.cols, recipe.group);
  const auto parameters =
      static_cast<std::int64_t>(std::size(kBillmParameters)) - (recipe.flag("means") ? 0 : 2);
  StoredBytes bytes;
  bytes.required = 2 * matrix_bytes(shape.rows, shape.cols, 1) + packed_row_bytes(shape.cols, 1) +
                   parameters * kHalf * shape.rows * slabs;
  bytes.all = bytes.required + kFloat * slabs;  // break points
  return bytes;
}

StoredBytes mixed_width(const Recipe& recipe, const Shape& shape) {
  const int bits = static_cast<int>(recipe.bits);
  const std::int64_t slabs = group_count(shape.cols, recipe.group), group = shape.cols / slabs;
  const std::int64_t pairs = recipe.flag("sba") ? slabs / 2 : 0, chosen = pairs / 2;
  const auto slab_bytes = [&](int width) {
    const std::int64_t beside =
        width > 1 ? packed_row_bytes(shape.rows, width) : kHalf * shape.rows;  // zeros or means
    return packed_row_bytes(shape.rows * group, width) + kHalf * shape.rows + beside;
  };
  StoredBytes bytes;
  bytes.required = packed_row_bytes(slabs, 2) + (slabs - 2 * chosen) * slab_bytes(bits) +
                   chosen * (slab_bytes(bits - 1) + slab_bytes(bits + 1));
  bytes.all = bytes.required;
  if (recipe.flag("sba")) bytes.all += kFloat * (slabs + (pairs > 0 ? pairs + 1 : 0));
  return bytes;
}

StoredBytes two_binary(const Recipe& recipe, const Shape& shape) {
  const std::int64_t required = 2 * matrix_bytes(shape.rows, shape.cols, 1) +
                                2 * kHalf * shape.rows * group_count(shape.cols, recipe.group);
  return {required, required};
}

struct StoredForm {
  RoundTap round;
  StoredBytes (*bytes)(const Recipe&, const Shape&);
};
constexpr StoredForm kForms[] = {
    {round_rtn, uniform},    {round_gptq, uniform},        {round_quip, incoherent},
    {round_pb_llm, pb_llm},  {round_billm, billm},         {round_slim, mixed_width},
    {round_fdb, two_binary}, {round_fdb_gptq, two_binary},
};

}  // namespace

StoredBytes& StoredBytes::operator+=(const StoredBytes& other) {
  required += other.required;
  all += other.all;
  return *this;
}

StoredBytes stored_bytes(const Recipe& recipe, Linear linear, std::int64_t rows,
                         std::int64_t cols) {
  check_group(recipe, linear_name(linear), cols);
  const RoundTap round = recipe_rounding(recipe);
  for (const StoredForm& form : kForms)
    if (form.round == round) return form.bytes(recipe, {linear, rows, cols});
  throw Error("method '" + recipe.chain.back() + "': nobody knows how much it stores");
}

}  // namespace bitgrid
