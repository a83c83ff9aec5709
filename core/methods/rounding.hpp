#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/methods/quantized_linear.hpp"
#include "core/methods/recipe.hpp"
#include "kernels/matrix.hpp"
#include "kernels/place.hpp"

namespace bitgrid {

// Which statistics of a tap a method wants; each is additive (or a maximum) over tokens, and
// complete when it gets it.
struct StatisticsNeeds {
  bool gram = false;  // S = XᵀX [in, in]
  bool any() const { return gram; }
  bool operator==(const StatisticsNeeds&) const = default;
};

struct Statistics {
  Matrix<float> gram;       // [in, in]; lower triangle
  std::int64_t tokens = 0;  // rows of X
};

// What all rows of the linears behind one tap share. Made once, by the statistics' owner; the
// runner sends it to the stage's other replicas field by field.
struct Prepared {
  std::vector<std::int32_t> order;  // position -> column; empty: identity
  std::vector<std::int32_t> dead;   // columns without any input
  Matrix<float> factor;  // U [in, in] upper triangular, UᵀU = H⁻¹ in `order`; empty: no feedback
  Matrix<float> gram;    // S [in, in] lower triangle, original order; for the relative output error
  double damping = 0;
  std::int64_t damping_attempts = 0;
  bool fallback = false;
  std::int64_t tokens = 0;
  double factor_s = 0;
};

// The rows that one call solves: inputs and outputs of the same rows, everything row-major.
struct RowsOut {
  MatrixView<std::uint8_t> codes;    // [rows, in], original column order
  MatrixView<std::uint16_t> scales;  // [rows, groups] fp16 bits
  MatrixView<std::uint8_t> zeros;    // [rows, groups]
  double* loss = nullptr;            // [rows] each
  double* weight_error = nullptr;    // ‖w − q‖²
  double* weight_norm = nullptr;     // ‖w‖²
  double* output_error = nullptr;    // (w − q) S (w − q)ᵀ; NaN without a Gram matrix
  double* output_norm = nullptr;     // w S wᵀ
};

// A rounding in two steps, so that the runner can spread it over ranks; neither step communicates,
// and what a row becomes depends on that row, the recipe and Prepared alone.
struct RoundingSteps {
  // On the owner. Throws Error (this cell fails) when the statistics are not finite.
  Prepared (*prepare)(const Place&, const Recipe&, const Statistics&, std::int64_t cols) = nullptr;
  // For a tile of rows w [rows, in] of one linear; w is not changed. Thread-safe; called on tiles
  // of solve_tile_rows().
  void (*round_rows)(const Place&, const Recipe&, const Prepared&, MatrixView<const float> w,
                     RowsOut out) = nullptr;
};

// Rows per tile of n rows behind one tap: a function of n alone. About a sixteenth, so that ranks
// and threads get equal shares of small linears, too; at most kGptqTileRows.
std::int64_t solve_tile_rows(std::int64_t rows);
std::int64_t group_count(std::int64_t cols, std::int64_t group);

// Packs finished rows into what is stored (codes, scales, zeros, group_index for recipes that
// permute groups).
QuantizedLinear assemble_linear(const Recipe&, const Prepared&, const std::string& name,
                                MatrixView<const std::uint8_t> codes,
                                MatrixView<const std::uint16_t> scales,
                                MatrixView<const std::uint8_t> zeros);

}  // namespace bitgrid
