#pragma once

#include <concepts>
#include <utility>

namespace bitgrid {

// What wraps a C handle: its raw type, the value that means "none", and how to release it. release
// never throws and is never called with none.
template <class T>
concept HandleTraits = requires(typename T::Raw raw) {
  { T::none } -> std::convertible_to<typename T::Raw>;
  { T::release(raw) }
  noexcept;
  { raw == raw } -> std::convertible_to<bool>;
};

// Owns one C handle. Move-only; move-assignment releases what was held before.
template <HandleTraits Traits>
class UniqueHandle {
 public:
  using Raw = typename Traits::Raw;

  UniqueHandle() noexcept = default;
  explicit UniqueHandle(Raw raw) noexcept : raw_(raw) {}
  UniqueHandle(UniqueHandle&& other) noexcept : raw_(other.release()) {}
  UniqueHandle& operator=(UniqueHandle&& other) noexcept {
    UniqueHandle taken(std::move(other));  // first, so that assignment to itself keeps the handle
    std::swap(raw_, taken.raw_);
    return *this;
  }
  ~UniqueHandle() { reset(); }

  Raw get() const noexcept { return raw_; }
  explicit operator bool() const noexcept { return !(raw_ == Raw(Traits::none)); }
  // Gives the handle away: the caller releases it.
  [[nodiscard]] Raw release() noexcept { return std::exchange(raw_, Raw(Traits::none)); }
  void reset() noexcept {
    if (*this) Traits::release(release());
  }
  // For C functions that create through a pointer: fn(handle.put()). Releases what was held before.
  Raw* put() noexcept {
    reset();
    return &raw_;
  }

 private:
  Raw raw_ = Traits::none;
};

}  // namespace bitgrid
