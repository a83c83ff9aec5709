#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <type_traits>
#include <utility>

#include "kernels/error.hpp"

namespace bitgrid {

// A view of rows × cols elements, row-major; consecutive rows are stride elements apart. Owns
// nothing.
template <class T>
struct MatrixView {
  T* data = nullptr;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t stride = 0;

  MatrixView() = default;
  MatrixView(T* data, std::int64_t rows, std::int64_t cols) : MatrixView(data, rows, cols, cols) {}
  MatrixView(T* data, std::int64_t rows, std::int64_t cols, std::int64_t stride)
      : data(data), rows(rows), cols(cols), stride(stride) {}
  // A mutable view converts to a const one.
  template <class U>
  requires(std::is_same_v<const U, T> && !std::is_const_v<U>) MatrixView(const MatrixView<U>& v)
      : MatrixView(v.data, v.rows, v.cols, v.stride) {}

  T* row(std::int64_t r) const { return data + r * stride; }
  T& operator()(std::int64_t r, std::int64_t c) const { return data[r * stride + c]; }
  MatrixView rows_from(std::int64_t first, std::int64_t count) const {
    return {data + first * stride, count, cols, stride};
  }
  MatrixView cols_from(std::int64_t first, std::int64_t count) const {
    return {data + first, rows, count, stride};
  }
};

// Owned, 64-byte aligned, row-major, without gaps between rows. Move-only. New memory is not
// initialized.
template <class T>
class Matrix {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  Matrix() = default;
  Matrix(std::int64_t rows, std::int64_t cols) : rows_(rows), cols_(cols) {
    BITGRID_ASSERT(rows >= 0 && cols >= 0);
    const auto bytes = static_cast<std::size_t>(rows) * static_cast<std::size_t>(cols) * sizeof(T);
    if (bytes == 0) return;
    void* raw = ::operator new(bytes, std::align_val_t(64), std::nothrow);
    if (raw == nullptr)
      throw Error("out of memory: " + std::to_string(rows) + " x " + std::to_string(cols) +
                  " elements of " + std::to_string(sizeof(T)) + " bytes");
    data_.reset(static_cast<T*>(raw));
  }
  Matrix(Matrix&& o) noexcept { swap(o); }
  Matrix& operator=(Matrix&& o) noexcept {
    Matrix gone(std::move(*this));
    swap(o);
    return *this;
  }

  std::int64_t rows() const { return rows_; }
  std::int64_t cols() const { return cols_; }
  std::int64_t size() const { return rows_ * cols_; }
  bool empty() const { return size() == 0; }
  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  T* row(std::int64_t r) { return data() + r * cols_; }
  const T* row(std::int64_t r) const { return data() + r * cols_; }
  T& operator()(std::int64_t r, std::int64_t c) { return data()[r * cols_ + c]; }
  const T& operator()(std::int64_t r, std::int64_t c) const { return data()[r * cols_ + c]; }
  MatrixView<T> view() { return {data(), rows_, cols_}; }
  MatrixView<const T> view() const { return {data(), rows_, cols_}; }
  MatrixView<T> rows_from(std::int64_t first, std::int64_t count) {
    return view().rows_from(first, count);
  }
  MatrixView<const T> rows_from(std::int64_t first, std::int64_t count) const {
    return view().rows_from(first, count);
  }

  void fill(T value) {
    for (std::int64_t i = 0; i < size(); ++i) data()[i] = value;
  }
  Matrix clone() const {
    Matrix copy(rows_, cols_);
    if (!empty()) std::memcpy(copy.data(), data(), static_cast<std::size_t>(size()) * sizeof(T));
    return copy;
  }

 private:
  struct Free {
    void operator()(T* p) const noexcept { ::operator delete(p, std::align_val_t(64)); }
  };
  void swap(Matrix& o) noexcept {
    std::swap(rows_, o.rows_);
    std::swap(cols_, o.cols_);
    std::swap(data_, o.data_);
  }

  std::int64_t rows_ = 0;
  std::int64_t cols_ = 0;
  std::unique_ptr<T, Free> data_;
};

}  // namespace bitgrid
