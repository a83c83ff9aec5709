#include "core/methods/incoherence.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <span>

#include "kernels/error.hpp"
#include "kernels/sha256.hpp"

namespace bitgrid {
namespace {

constexpr std::uint32_t low_word(std::uint64_t v) { return static_cast<std::uint32_t>(v); }
constexpr std::uint32_t high_word(std::uint64_t v) { return static_cast<std::uint32_t>(v >> 32); }

// ⌊p·m/2⁶⁴⌋ for m < 2³²
constexpr std::uint64_t scaled_down(std::uint64_t p, std::uint64_t m) {
  return ((p >> 32) * m + (((p & 0xffffffffu) * m) >> 32)) >> 32;
}

// A reflection I − scale·v·vᵀ of rows j … p − 1; v lies in column j of `v`.
struct Reflection {
  double scale = 0;
  bool negative = false;  // the sign of R_jj
};

// rows j … of m lose scale·v·(vᵀm), columns `first` and on. Row by row, so that the order of the
// sums is one and the loops run along memory.
void reflect(const Matrix<double>& v, std::int64_t j, double scale, std::int64_t first,
             Matrix<double>& m, std::vector<double>& product) {
  const std::int64_t p = m.cols();
  std::fill(product.begin(), product.end(), 0.0);
  for (std::int64_t i = j; i < p; ++i) {
    const double x = v(i, j);
    const double* row = m.row(i);
    for (std::int64_t c = first; c < p; ++c) product[static_cast<std::size_t>(c)] += x * row[c];
  }
  for (std::int64_t i = j; i < p; ++i) {
    const double x = scale * v(i, j);
    double* row = m.row(i);
    for (std::int64_t c = first; c < p; ++c) row[c] -= x * product[static_cast<std::size_t>(c)];
  }
}

// Householder's reflection that clears column j of g below its diagonal.
Reflection householder(const Matrix<double>& g, std::int64_t j, Matrix<double>& v) {
  const std::int64_t p = g.cols();
  double norm = 0;
  for (std::int64_t i = j; i < p; ++i) norm += g(i, j) * g(i, j);
  norm = std::sqrt(norm);
  if (norm == 0) return {};
  const double alpha = g(j, j) < 0 ? norm : -norm;  // R_jj
  double squares = 0;
  for (std::int64_t i = j; i < p; ++i) {
    v(i, j) = i == j ? g(i, j) - alpha : g(i, j);
    squares += v(i, j) * v(i, j);
  }
  return {2 / squares, alpha < 0};
}

void narrow_into(const Matrix<double>& from, Matrix<float>& to, std::int64_t first) {
  for (std::int64_t r = 0; r < from.rows(); ++r)
    for (std::int64_t c = 0; c < from.cols(); ++c)
      to(first + r, c) = static_cast<float>(from(r, c));
}

Matrix<float> draw_factors(std::uint64_t seed, std::uint64_t stream_id, std::int64_t p,
                           std::int64_t count) {
  PhiloxStream stream(seed, stream_id);
  Matrix<float> factors(p * count, p);
  for (std::int64_t i = 0; i < count; ++i) narrow_into(draw_orthogonal(stream, p), factors, i * p);
  return factors;
}

}  // namespace

std::array<std::uint32_t, 4> philox(const std::array<std::uint32_t, 4>& counter,
                                    const std::array<std::uint32_t, 2>& key) {
  std::array<std::uint32_t, 4> x = counter;
  std::array<std::uint32_t, 2> k = key;
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t even = std::uint64_t{0xD2511F53} * x[0];
    const std::uint64_t odd = std::uint64_t{0xCD9E8D57} * x[2];
    x = {high_word(odd) ^ x[1] ^ k[0], low_word(odd), high_word(even) ^ x[3] ^ k[1],
         low_word(even)};
    k[0] += 0x9E3779B9;
    k[1] += 0xBB67AE85;
  }
  return x;
}

PhiloxStream::Pair PhiloxStream::next() {
  const auto x =
      philox({low_word(block_), high_word(block_), low_word(stream_), high_word(stream_)},
             {low_word(seed_), high_word(seed_)});
  ++block_;
  const auto joined = [](std::uint32_t high, std::uint32_t low) {
    return std::uint64_t{high} << 32 | low;
  };
  return {joined(x[0], x[1]), joined(x[2], x[3])};
}

Matrix<double> draw_normals(PhiloxStream& stream, std::int64_t rows, std::int64_t cols) {
  Matrix<double> g(rows, cols);
  for (std::int64_t i = 0; i < g.size(); i += 2) {
    const auto [p, q] = stream.next();
    const double u1 = static_cast<double>((p >> 11) + 1) * 0x1p-53;
    const double u2 = static_cast<double>(q >> 11) * 0x1p-53;
    const double r = std::sqrt(-2 * std::log(u1));
    const double angle = 2 * std::numbers::pi * u2;
    g.data()[i] = r * std::cos(angle);
    if (i + 1 < g.size()) g.data()[i + 1] = r * std::sin(angle);
  }
  return g;
}

Matrix<double> draw_orthogonal(PhiloxStream& stream, std::int64_t p) {
  Matrix<double> g = draw_normals(stream, p, p);
  Matrix<double> v(p, p);
  v.fill(0);
  std::vector<double> product(static_cast<std::size_t>(p));
  std::vector<Reflection> reflections;
  for (std::int64_t j = 0; j < p; ++j) {
    reflections.push_back(householder(g, j, v));
    reflect(v, j, reflections.back().scale, j, g, product);
  }
  Matrix<double> q(p, p);  // the reflections' product, from the last to the first
  q.fill(0);
  for (std::int64_t i = 0; i < p; ++i) q(i, i) = 1;
  for (std::int64_t j = p - 1; j >= 0; --j)
    reflect(v, j, reflections[static_cast<std::size_t>(j)].scale, j, q, product);
  for (std::int64_t i = 0; i < p; ++i)
    for (std::int64_t j = 0; j < p; ++j)
      if (reflections[static_cast<std::size_t>(j)].negative) q(i, j) = -q(i, j);
  return q;
}

std::vector<std::int32_t> draw_permutation(PhiloxStream& stream, std::int64_t d) {
  std::vector<std::int32_t> order(static_cast<std::size_t>(d));
  std::iota(order.begin(), order.end(), 0);
  for (std::size_t i = order.size(); i-- > 1;)
    std::swap(order[i], order[scaled_down(stream.next().p, i + 1)]);
  return order;
}

RotationSplit split_dimension(std::int64_t d, RotationKind::Split split) {
  BITGRID_ASSERT(d >= 1);
  RotationSplit parts;
  if (split == RotationKind::Split::balanced) {
    for (std::int64_t p = 1; p * p <= d; ++p)
      if (d % p == 0) parts = {p, d / p};
    return parts;
  }
  bool first = true;
  const auto take = [&](std::int64_t prime) {
    (first ? parts.p0 : parts.p1) *= prime;
    first = !first;
  };
  std::int64_t left = d;
  for (std::int64_t prime = 2; prime * prime <= left; ++prime)
    for (; left % prime == 0; left /= prime) take(prime);
  if (left > 1) take(left);
  return parts;
}

Rotation DrawnRotation::view() const {
  return {split.p0, split.p1, a.view(), b.view(), gather, pick};
}

DrawnRotation draw_rotation(std::uint64_t seed, std::int64_t d, const RotationKind& kind) {
  DrawnRotation drawn;
  drawn.split = split_dimension(d, kind.split);
  if (kind.form == RotationKind::Form::none) return drawn;
  const auto [p0, p1] = drawn.split;
  if (std::max(p0, p1) > kRotationFactorMax)
    throw Error(
        fmt::format("{} dimensions have the factors {} and {}: a rotation is drawn of "
                    "factors up to {}",
                    d, p0, p1, kRotationFactorMax));
  const bool blocked = kind.form == RotationKind::Form::blocked;
  drawn.a = draw_factors(seed, 0, p0, blocked ? p1 : 1);
  drawn.b = draw_factors(seed, 1, p1, blocked ? p0 : 1);
  PhiloxStream gather(seed, 2), pick(seed, 3);
  drawn.gather = draw_permutation(gather, d);
  drawn.pick = draw_permutation(pick, d);
  return drawn;
}

std::uint64_t rotation_seed(std::uint64_t sweep_seed, std::int64_t layer, std::int64_t linear,
                            RotationSide side) {
  const auto x = philox({static_cast<std::uint32_t>(layer), static_cast<std::uint32_t>(linear),
                         static_cast<std::uint32_t>(side), 0},
                        {low_word(sweep_seed), high_word(sweep_seed)});
  return x[0] | std::uint64_t{x[1]} << 32;
}

std::string rotation_hash(const DrawnRotation& u, const DrawnRotation& v) {
  Sha256 hash;
  for (const DrawnRotation* r : {&u, &v}) {
    hash.update(fmt::format("{} x {}\n", r->split.p0, r->split.p1));
    for (const Matrix<float>* m : {&r->a, &r->b})
      hash.update(std::as_bytes(std::span(m->data(), static_cast<std::size_t>(m->size()))));
    for (const auto* order : {&r->gather, &r->pick}) hash.update(std::as_bytes(std::span(*order)));
  }
  return hash.hex();
}

}  // namespace bitgrid
