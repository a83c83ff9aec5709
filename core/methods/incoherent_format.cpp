#include "core/methods/incoherent_format.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <string>

#include "core/methods/stored_arrays.hpp"
#include "kernels/error.hpp"
#include "kernels/pack_codes.hpp"
#include "kernels/row_tiles.hpp"

namespace bitgrid {
namespace {

constexpr std::int64_t kHashLetters = 64;

std::int32_t word(std::uint64_t v, int shift) {
  return std::bit_cast<std::int32_t>(static_cast<std::uint32_t>(v >> shift));
}

std::uint64_t joined(std::int32_t low, std::int32_t high) {
  return std::uint64_t{std::bit_cast<std::uint32_t>(high)} << 32 |
         std::bit_cast<std::uint32_t>(low);
}

std::uint8_t kind_byte(const RotationKind& kind) {
  return static_cast<std::uint8_t>(static_cast<int>(kind.form) + 4 * static_cast<int>(kind.split));
}

StoredArray byte_array(std::string name, std::span<const std::uint8_t> bytes, bool required) {
  return packed_array(std::move(name), {bytes.data(), 1, std::ssize(bytes)}, 8, required);
}

StoredArray scales_array(std::span<const double> scales, bool required) {
  std::vector<std::uint16_t> halves;
  for (const double s : scales) halves.push_back(f32_to_f16(static_cast<float>(s)));
  return half_array("column_scales", {halves.data(), 1, std::ssize(halves)}, DType::f16, required);
}

RotationKind read_kind(const QuantizedLinear& linear) {
  if (linear.find("rotation") == nullptr) return {};
  const int byte = read_packed(linear, "rotation", 1, 1, 8)(0, 0);
  if (byte % 4 > 2 || byte / 4 > 1)
    throw Error(fmt::format("{}: rotation {} is unknown", linear.name, byte));
  return {static_cast<RotationKind::Form>(byte % 4), static_cast<RotationKind::Split>(byte / 4)};
}

Matrix<float> read_scales(const QuantizedLinear& linear) {
  if (linear.find("column_scales") == nullptr) {
    Matrix<float> ones(1, linear.cols);
    ones.fill(1.0f);
    return ones;
  }
  Matrix<float> scales = read_halves(linear, "column_scales", 1, linear.cols);
  for (std::int64_t j = 0; j < linear.cols; ++j)
    if (!std::isfinite(scales(0, j)) || scales(0, j) < 0)
      throw Error(
          fmt::format("{}: column_scales holds {} at column {}", linear.name, scales(0, j), j));
  return scales;
}

float read_delta(const QuantizedLinear& linear) {
  const float delta = read_floats(linear, "delta", 1).front();
  if (!std::isfinite(delta) || delta < 0)
    throw Error(fmt::format("{}: delta is {}", linear.name, delta));
  return delta;
}

void check_hash(const QuantizedLinear& linear, const DrawnRotation& u, const DrawnRotation& v) {
  if (linear.find("rotation_hash") == nullptr) return;
  const Matrix<std::uint8_t> stored = read_packed(linear, "rotation_hash", 1, kHashLetters, 8);
  const std::string drawn = rotation_hash(u, v);
  if (!std::equal(drawn.begin(), drawn.end(), stored.data(), [](char letter, std::uint8_t byte) {
        return static_cast<std::uint8_t>(letter) == byte;
      }))
    throw Error(
        fmt::format("{}: rotation_hash is of other rotations than the seeds give; was the "
                    "weight made with another mathematical library?",
                    linear.name));
}

// w = Ŵ turned back, over the scales.
Matrix<float> turn_back(const Place& place, const Rotation& u, const Rotation& v,
                        const Matrix<float>& scales, Matrix<float> w) {
  Matrix<float> turned(w.rows(), w.cols());
  rotate_columns(place, u, Turn::inverse, w.view(), turned.view());
  rotate_rows(place, v, Turn::inverse, turned.view(), w.view());
  const float* s = scales.data();
  for_row_tiles(place, w.rows(), [&](std::int64_t first, std::int64_t end) {
    for (std::int64_t r = first; r < end; ++r) {
      float* row = w.row(r);
      for (std::int64_t j = 0; j < w.cols(); ++j) row[j] = s[j] == 0.0f ? 0.0f : row[j] / s[j];
    }
  });
  return w;
}

}  // namespace

QuantizedLinear assemble_incoherent(const LinearTask& task, const IncoherentParts& parts) {
  QuantizedLinear linear;
  linear.name = task.name();
  linear.format = "incoherent";
  linear.rows = parts.codes.rows;
  linear.cols = parts.codes.cols;
  linear.bits = static_cast<int>(task.recipe.bits);
  auto& arrays = linear.arrays;
  arrays.push_back(packed_array("codes", parts.codes, linear.bits));
  arrays.push_back(float_array("delta", std::span(&parts.delta, 1), true));
  const std::int32_t seeds[] = {word(parts.u_seed, 0), word(parts.u_seed, 32),
                                word(parts.v_seed, 0), word(parts.v_seed, 32)};
  arrays.push_back(index_array("seeds", seeds, true));
  if (!parts.column_scales.empty())
    arrays.push_back(scales_array(parts.column_scales, parts.counts_scales));
  if (const std::uint8_t kind = kind_byte(parts.kind); kind != 0)
    arrays.push_back(byte_array("rotation", std::span(&kind, 1), true));
  const auto narrow = [](std::int64_t p) { return static_cast<std::int32_t>(p); };
  const std::int32_t factors[] = {narrow(parts.u.split.p0), narrow(parts.u.split.p1),
                                  narrow(parts.v.split.p0), narrow(parts.v.split.p1)};
  arrays.push_back(index_array("factors", factors, false));
  const std::string hash = rotation_hash(parts.u, parts.v);
  const std::vector<std::uint8_t> letters(hash.begin(), hash.end());
  arrays.push_back(byte_array("rotation_hash", letters, false));
  arrays.push_back(float_array("proxy_loss", parts.proxy_loss, false));
  arrays.push_back(float_array("rotated_mean", std::span(&parts.rotated_mean, 1), false));
  return linear;
}

Matrix<float> rebuild_incoherent(const Place& place, const QuantizedLinear& linear) {
  const Matrix<std::uint8_t> codes =
      read_packed(linear, "codes", linear.rows, linear.cols, linear.bits);
  const float delta = read_delta(linear);
  const Matrix<float> scales = read_scales(linear);
  const std::vector<std::int32_t> seeds = read_indices(linear, "seeds", 4);
  const RotationKind kind = read_kind(linear);
  Matrix<float> w(linear.rows, linear.cols);
  if (delta == 0) {
    w.fill(0.0f);
    return w;
  }
  const auto [u, v] = with_context(linear.name, [&] {
    return std::pair(draw_rotation(joined(seeds[0], seeds[1]), linear.rows, kind),
                     draw_rotation(joined(seeds[2], seeds[3]), linear.cols, kind));
  });
  check_hash(linear, u, v);
  const float middle = 0.5f * static_cast<float>((1 << linear.bits) - 1);
  for_row_tiles(place, w.rows(), [&](std::int64_t first, std::int64_t end) {
    for (std::int64_t i = first * w.cols(); i < end * w.cols(); ++i)
      w.data()[i] = delta * (static_cast<float>(codes.data()[i]) - middle);
  });
  return turn_back(place, u.view(), v.view(), scales, std::move(w));
}

IncoherentBytes incoherent_bytes(const Recipe& recipe, Linear linear, std::int64_t rows,
                                 std::int64_t cols) {
  constexpr std::int64_t kDelta = 4, kSeeds = 16, kHalf = 2;
  constexpr std::int64_t kDiagnostics = 16 + kHashLetters + 8 + 4;
  IncoherentBytes bytes;
  bytes.required = rows * packed_row_bytes(cols, static_cast<int>(recipe.bits)) + kDelta + kSeeds +
                   (kind_byte(rotation_kind(recipe)) != 0 ? 1 : 0);
  bytes.all = bytes.required + kDiagnostics;
  if (!recipe.flag("rescale")) return bytes;
  const bool first = linear != Linear::k && linear != Linear::v && linear != Linear::up;
  if (first || !recipe.flag("share_tap")) bytes.required += kHalf * cols;
  bytes.all += kHalf * cols;
  return bytes;
}

RotationKind rotation_kind(const Recipe& recipe) {
  const std::string& form = recipe.word("rotation");
  RotationKind kind;
  kind.form = form == "none"      ? RotationKind::Form::none
              : form == "blocked" ? RotationKind::Form::blocked
                                  : RotationKind::Form::kronecker;
  if (recipe.word("factors") == "reference") kind.split = RotationKind::Split::reference;
  return kind;
}

}  // namespace bitgrid
