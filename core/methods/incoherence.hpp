#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/matrix.hpp"
#include "kernels/rotate.hpp"

namespace bitgrid {

// Philox4x32-10 (Salmon et al. 2011): four words for every counter and key.
std::array<std::uint32_t, 4> philox(const std::array<std::uint32_t, 4>& counter,
                                    const std::array<std::uint32_t, 2>& key);

// Block i of a seed's stream t is philox(counter = (i, t), key = seed), 64-bit numbers as two
// words, the low one first. A block's words x0 … x3 are read as P = x0·2³² + x1, Q = x2·2³² + x3.
class PhiloxStream {
 public:
  PhiloxStream(std::uint64_t seed, std::uint64_t stream) : seed_(seed), stream_(stream) {}
  struct Pair {
    std::uint64_t p, q;
  };
  Pair next();  // one block

 private:
  std::uint64_t seed_, stream_;
  std::uint64_t block_ = 0;
};

// rows x cols independent standard normals, row by row, two per block (Box and Muller).
Matrix<double> draw_normals(PhiloxStream& stream, std::int64_t rows, std::int64_t cols);
// Uniform over the orthogonal group O(p): Q·diag(sign R_jj) of normals = QR.
Matrix<double> draw_orthogonal(PhiloxStream& stream, std::int64_t p);
// Of 0 … d − 1, by Fisher and Yates from the last position on.
std::vector<std::int32_t> draw_permutation(PhiloxStream& stream, std::int64_t d);

// How a random rotation is made of its seed.
struct RotationKind {
  enum class Form { kronecker, blocked, none };
  enum class Split { balanced, reference };
  Form form = Form::kronecker;
  Split split = Split::balanced;
  bool operator==(const RotationKind&) const = default;
};

// d = p0·p1. balanced: p0 ≤ p1, as close as can be. reference: prime factors in ascending order,
// p0 takes the first, the third, …
struct RotationSplit {
  std::int64_t p0 = 1, p1 = 1;
  bool operator==(const RotationSplit&) const = default;
};
RotationSplit split_dimension(std::int64_t d, RotationKind::Split split);

// A rotation as drawn. Everything is computed in fp64 in one order and rounded once: the fp32
// factors are what defines the rotation.
struct DrawnRotation {
  RotationSplit split;
  Matrix<float> a, b;
  std::vector<std::int32_t> gather, pick;
  Rotation view() const;
};

// Streams of the seed: 0 the factors A, 1 the factors B, 2 gather, 3 pick. Throws Error where d has
// a factor too large to draw, a prime above kRotationFactorMax.
inline constexpr std::int64_t kRotationFactorMax = 4096;
DrawnRotation draw_rotation(std::uint64_t seed, std::int64_t d, const RotationKind& kind);

// The seed of one rotation: linear 0 … 6 = q, k, v, o, gate, up, down; side 0 turns outputs, 1
// turns inputs.
enum class RotationSide { outputs = 0, inputs = 1 };
std::uint64_t rotation_seed(std::uint64_t sweep_seed, std::int64_t layer, std::int64_t linear,
                            RotationSide side);

// SHA-256 over factors and permutations: whether two machines draw the same rotation.
std::string rotation_hash(const DrawnRotation& u, const DrawnRotation& v);

}  // namespace bitgrid
