#pragma once

#include <cmath>
#include <cstdint>
#include <span>
#include <vector>

#include "tests/oracle/linear_algebra.hpp"

// QuIP as it is written down, in plain fp64 loops, columns in their own order.
namespace bitgrid::test {

struct DenseFactors {
  std::int64_t p0 = 1, p1 = 1;
  std::vector<Square> a, b;  // one each, or p1 and p0 of them
  std::vector<std::int32_t> gather, pick;
};

// The matrix M with y = M x: t = x[gather], u[a][c] = Σ B_a[c][c']·A_c'[a][a']·t[a'][c'], y =
// u[pick].
inline Square rotation_oracle(const DenseFactors& f) {
  Square m(f.p0 * f.p1);
  for (std::int64_t i = 0; i < m.n; ++i) {
    const std::int64_t a = f.pick[static_cast<std::size_t>(i)] / f.p1;
    const std::int64_t c = f.pick[static_cast<std::size_t>(i)] % f.p1;
    for (std::int64_t j = 0; j < m.n; ++j) {
      const std::int64_t from_a = j / f.p1, from_c = j % f.p1;
      const Square& left = f.a.size() == 1 ? f.a[0] : f.a[static_cast<std::size_t>(from_c)];
      const Square& right = f.b.size() == 1 ? f.b[0] : f.b[static_cast<std::size_t>(a)];
      m(i, f.gather[static_cast<std::size_t>(j)]) = left(a, from_a) * right(c, from_c);
    }
  }
  return m;
}

struct LdlOracle {
  Square l;  // unit lower triangular
  std::vector<double> d;
};

// H = L D Lᵀ
inline LdlOracle ldl_oracle(const Square& h) {
  LdlOracle f{Square(h.n), std::vector<double>(static_cast<std::size_t>(h.n))};
  for (std::int64_t j = 0; j < h.n; ++j) {
    double pivot = h(j, j);
    for (std::int64_t m = 0; m < j; ++m)
      pivot -= f.l(j, m) * f.l(j, m) * f.d[static_cast<std::size_t>(m)];
    f.d[static_cast<std::size_t>(j)] = pivot;
    f.l(j, j) = 1;
    for (std::int64_t i = j + 1; i < h.n; ++i) {
      double sum = h(i, j);
      for (std::int64_t m = 0; m < j; ++m)
        sum -= f.l(i, m) * f.l(j, m) * f.d[static_cast<std::size_t>(m)];
      f.l(i, j) = sum / pivot;
    }
  }
  return f;
}

inline double code_oracle(double z, int bits) {
  return std::min(std::max(std::nearbyint(z), 0.0), static_cast<double>((1 << bits) - 1));
}

// What column i is rounded from, the columns behind it rounded to q.
inline double ldlq_target(const LdlOracle& f, std::span<const double> v, std::span<const double> q,
                          std::int64_t i) {
  double z = v[static_cast<std::size_t>(i)];
  for (std::int64_t j = i + 1; j < f.l.n; ++j)
    z += (v[static_cast<std::size_t>(j)] - q[static_cast<std::size_t>(j)]) * f.l(j, i);
  return z;
}

inline std::vector<double> ldlq_oracle(const LdlOracle& f, std::span<const double> v, int bits) {
  std::vector<double> q(v.size(), 0.0);
  for (std::int64_t i = f.l.n - 1; i >= 0; --i)
    q[static_cast<std::size_t>(i)] = code_oracle(ldlq_target(f, v, q, i), bits);
  return q;
}

// One pass of coordinate descent, from the last column to the first.
inline void greedy_oracle(const Square& h, std::span<const double> v, int bits,
                          std::vector<double>& q) {
  for (std::int64_t i = h.n - 1; i >= 0; --i) {
    double slope = 0;
    for (std::int64_t j = 0; j < h.n; ++j)
      slope += (q[static_cast<std::size_t>(j)] - v[static_cast<std::size_t>(j)]) * h(j, i);
    double& code = q[static_cast<std::size_t>(i)];
    code = code_oracle(code - slope / h(i, i), bits);
  }
}

inline double proxy_oracle(const Square& h, std::span<const double> v, std::span<const double> q) {
  std::vector<double> e(v.begin(), v.end());
  for (std::size_t i = 0; i < e.size(); ++i) e[i] -= q[i];
  return quadratic_oracle(h, e);
}

}  // namespace bitgrid::test
