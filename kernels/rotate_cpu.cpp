#include <cblas.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "kernels/parallel.hpp"
#include "kernels/rotate.hpp"

namespace bitgrid::cpu {
namespace {

// Vectors that are turned together, as the columns of a [d, kTile] tile: every step is then a
// product with the factors on the left, whether the vectors were rows or columns.
constexpr std::int64_t kTile = 64;
// Rows that are transposed together, so that what is picked from them stays in the cache.
constexpr std::int64_t kChunk = 16;

struct Product {
  std::int64_t rows, cols, inner;  // y [rows, cols] = f [rows, inner] x [inner, cols], or fᵀ x
  bool transposed;
  std::int64_t stride;  // of x and y
};

void multiply(const Product& p, const float* f, const float* x, float* y) {
  cblas_sgemm(CblasRowMajor, p.transposed ? CblasTrans : CblasNoTrans, CblasNoTrans,
              static_cast<int>(p.rows), static_cast<int>(p.cols), static_cast<int>(p.inner), 1.0f,
              f, static_cast<int>(p.inner), x, static_cast<int>(p.stride), 0.0f, y,
              static_cast<int>(p.stride));
}

void multiply(const Product& p, const double* f, const double* x, double* y) {
  cblas_dgemm(CblasRowMajor, p.transposed ? CblasTrans : CblasNoTrans, CblasNoTrans,
              static_cast<int>(p.rows), static_cast<int>(p.cols), static_cast<int>(p.inner), 1.0, f,
              static_cast<int>(p.inner), x, static_cast<int>(p.stride), 0.0, y,
              static_cast<int>(p.stride));
}

Matrix<double> widened(MatrixView<const float> m) {
  Matrix<double> wide(m.rows, m.cols);
  for (std::int64_t r = 0; r < m.rows; ++r)
    for (std::int64_t j = 0; j < m.cols; ++j) wide(r, j) = static_cast<double>(m(r, j));
  return wide;
}

template <class T>
class Turner {
 public:
  Turner(const Rotation& m, Turn turn, MatrixView<const T> a, MatrixView<const T> b)
      : m_(m),
        inverse_(turn == Turn::inverse),
        a_(a),
        b_(b),
        in_(inverse_ ? m.pick : m.gather),
        out_(inverse_ ? m.gather : m.pick) {}

  // y = u[pick] of the turned t = x[gather]; backwards: u[pick] = y, x[gather] = t. So entering the
  // tile backwards scatters where leaving it forwards gathers, and the other way round.
  std::int64_t entered_from(std::int64_t j) const { return in_[static_cast<std::size_t>(j)]; }
  std::int64_t left_for(std::int64_t i) const { return out_[static_cast<std::size_t>(i)]; }
  bool inverse() const { return inverse_; }

  // t and scratch [d, width], stride kTile. The result is in t.
  void turn(T* t, T* scratch, std::int64_t width) const {
    if (inverse_) {
      second(t, scratch, width);
      first(scratch, t, width);
    } else {
      first(t, scratch, width);
      second(scratch, t, width);
    }
  }

 private:
  // y[:, c] = A_c x[:, c] for every c
  void first(const T* x, T* y, std::int64_t width) const {
    const std::int64_t p0 = m_.p0, p1 = m_.p1, line = p1 * kTile;
    if (a_.rows == p0 && width == kTile) {  // the same factor, and no gap between neighbours
      multiply({p0, line, p0, inverse_, line}, a_.data, x, y);
      return;
    }
    for (std::int64_t c = 0; c < p1; ++c)
      multiply({p0, width, p0, inverse_, line}, a_.row(a_.rows == p0 ? 0 : c * p0), x + c * kTile,
               y + c * kTile);
  }

  // y[a] = B_a x[a] for every a
  void second(const T* x, T* y, std::int64_t width) const {
    const std::int64_t p0 = m_.p0, p1 = m_.p1;
    for (std::int64_t a = 0; a < p0; ++a)
      multiply({p1, width, p1, inverse_, kTile}, b_.row(b_.rows == p1 ? 0 : a * p1),
               x + a * p1 * kTile, y + a * p1 * kTile);
  }

  const Rotation& m_;
  bool inverse_;
  MatrixView<const T> a_, b_;
  std::span<const std::int32_t> in_, out_;
};

// Forwards t[j] = x[in[j]]; backwards t[in[i]] = x[i].
template <class T>
void load_rows(const Turner<T>& m, MatrixView<const T> x, T* t) {
  for (std::int64_t r = 0; r < x.rows; r += kChunk) {
    const std::int64_t rows = std::min(kChunk, x.rows - r);
    for (std::int64_t j = 0; j < x.cols; ++j) {
      const std::int64_t other = m.entered_from(j);
      const T* from = x.row(r) + (m.inverse() ? j : other);
      T* to = t + (m.inverse() ? other : j) * kTile + r;
      for (std::int64_t l = 0; l < rows; ++l) to[l] = from[l * x.stride];
    }
  }
}

// Forwards y[i] = t[out[i]]; backwards y[out[j]] = t[j].
template <class T>
void store_rows(const Turner<T>& m, const T* t, MatrixView<T> y) {
  for (std::int64_t r = 0; r < y.rows; r += kChunk) {
    const std::int64_t rows = std::min(kChunk, y.rows - r);
    for (std::int64_t i = 0; i < y.cols; ++i) {
      const std::int64_t other = m.left_for(i);
      const T* from = t + (m.inverse() ? i : other) * kTile + r;
      T* to = y.row(r) + (m.inverse() ? other : i);
      for (std::int64_t l = 0; l < rows; ++l) to[l * y.stride] = from[l];
    }
  }
}

template <class T>
void load_columns(const Turner<T>& m, MatrixView<const T> x, T* t) {
  const auto bytes = static_cast<std::size_t>(x.cols) * sizeof(T);
  for (std::int64_t j = 0; j < x.rows; ++j) {
    const std::int64_t other = m.entered_from(j);
    std::memcpy(t + (m.inverse() ? other : j) * kTile, x.row(m.inverse() ? j : other), bytes);
  }
}

template <class T>
void store_columns(const Turner<T>& m, const T* t, MatrixView<T> y) {
  const auto bytes = static_cast<std::size_t>(y.cols) * sizeof(T);
  for (std::int64_t i = 0; i < y.rows; ++i) {
    const std::int64_t other = m.left_for(i);
    std::memcpy(y.row(m.inverse() ? other : i), t + (m.inverse() ? i : other) * kTile, bytes);
  }
}

template <class T>
void turn_tiles(const Place& place, const Turner<T>& m, Along along, MatrixView<const T> x,
                MatrixView<T> y) {
  const bool by_rows = along == Along::rows;
  const std::int64_t d = by_rows ? x.cols : x.rows, vectors = by_rows ? x.rows : x.cols;
  // [threads]: a tile and what it becomes half-way
  std::vector<Matrix<T>> buffers(static_cast<std::size_t>(place_threads(place)));
  parallel_for(place, (vectors + kTile - 1) / kTile, [&](std::int64_t tile) {
    const std::int64_t first = tile * kTile, width = std::min(kTile, vectors - first);
    Matrix<T>& buffer = buffers[static_cast<std::size_t>(parallel_thread_index())];
    if (buffer.empty()) buffer = Matrix<T>(2 * d, kTile);
    T *t = buffer.data(), *scratch = buffer.row(d);
    if (by_rows) {
      load_rows(m, x.rows_from(first, width), t);
      m.turn(t, scratch, width);
      store_rows(m, t, y.rows_from(first, width));
    } else {
      load_columns(m, x.cols_from(first, width), t);
      m.turn(t, scratch, width);
      store_columns(m, t, y.cols_from(first, width));
    }
  });
}

}  // namespace

void rotate(const Place& place, const Rotation& m, Turn turn, Along along,
            MatrixView<const float> x, MatrixView<float> y) {
  turn_tiles<float>(place, {m, turn, m.a, m.b}, along, x, y);
}

void rotate(const Place& place, const Rotation& m, Turn turn, Along along,
            MatrixView<const double> x, MatrixView<double> y) {
  const Matrix<double> a = widened(m.a), b = widened(m.b);
  turn_tiles<double>(place, {m, turn, a.view(), b.view()}, along, x, y);
}

}  // namespace bitgrid::cpu
