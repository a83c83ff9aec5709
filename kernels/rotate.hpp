#pragma once

#include <cstdint>
#include <span>

#include "kernels/matrix.hpp"
#include "kernels/place.hpp"

namespace bitgrid {

// An orthogonal matrix M of size d = p0·p1 that is never formed (QuIP, Chee et al. 2023, sec. 4.1).
// y = M x is
//   t[j] = x[gather[j]],  j = a·p1 + c;   u'[a][c] = Σ A_c[a][a']·t[a'][c];
//   u[a][c] = Σ B_a[c][c']·u'[a][c'];     y[i] = u[pick[i]]
// Kronecker form: one A and one B for all c and a. Blocked form: their own for each. Without
// factors (a and b empty) M is the identity.
struct Rotation {
  std::int64_t p0 = 1, p1 = 1;
  MatrixView<const float> a;                   // [p0, p0], or p1 of them below each other
  MatrixView<const float> b;                   // [p1, p1], or p0 of them
  std::span<const std::int32_t> gather, pick;  // permutations of 0 … d − 1

  std::int64_t size() const { return p0 * p1; }
  bool identity() const { return a.rows == 0; }
  bool blocked() const { return a.rows != p0 || b.rows != p1; }
};

enum class Turn { forward, inverse };

// y_r = M x_r, or M⁻¹ x_r, for every row: Y = X Mᵀ or X M. x, y [rows, d], not the same memory.
// Costs 2·rows·d·(p0 + p1). Tiles follow from the shapes alone.
void rotate_rows(const Place& place, const Rotation& m, Turn turn, MatrixView<const float> x,
                 MatrixView<float> y);
// The same for every column: Y = M X or M⁻¹ X. x, y [d, cols]
void rotate_columns(const Place& place, const Rotation& m, Turn turn, MatrixView<const float> x,
                    MatrixView<float> y);
// In fp64, the factors widened.
void rotate_rows(const Place& place, const Rotation& m, Turn turn, MatrixView<const double> x,
                 MatrixView<double> y);
void rotate_columns(const Place& place, const Rotation& m, Turn turn, MatrixView<const double> x,
                    MatrixView<double> y);

enum class Along { rows, columns };
namespace cpu {
void rotate(const Place& place, const Rotation& m, Turn turn, Along along,
            MatrixView<const float> x, MatrixView<float> y);
void rotate(const Place& place, const Rotation& m, Turn turn, Along along,
            MatrixView<const double> x, MatrixView<double> y);
}  // namespace cpu
namespace cuda {
void rotate(const Place& place, const Rotation& m, Turn turn, Along along,
            MatrixView<const float> x, MatrixView<float> y);
void rotate(const Place& place, const Rotation& m, Turn turn, Along along,
            MatrixView<const double> x, MatrixView<double> y);
}  // namespace cuda

}  // namespace bitgrid
