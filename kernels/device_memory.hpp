#pragma once

#include <cstdint>

#include "kernels/place.hpp"
#include "kernels/unique_handle.hpp"

// Streams and memory of a CUDA device. Everything here throws Error, with the reason, where the
// CUDA backend is not available.
namespace bitgrid::cuda {

struct StreamTraits {
  using Raw = void*;  // cudaStream_t
  static constexpr Raw none = nullptr;
  static void release(Raw raw) noexcept;
};
using Stream = UniqueHandle<StreamTraits>;

struct DeviceMemoryTraits {
  using Raw = void*;
  static constexpr Raw none = nullptr;
  static void release(Raw raw) noexcept;
};
using DeviceMemory = UniqueHandle<DeviceMemoryTraits>;

// Both on the calling thread's device. New memory is not initialized; 0 bytes give an empty handle.
Stream make_stream();
DeviceMemory make_device_memory(std::int64_t bytes);

// A place on the stream, which must outlive it.
Place place_on(const Stream& stream);
void synchronize(const Place& place);

// Ordered on the place's stream; host memory must stay as it is until the place is synchronized.
void copy_to_device(const Place& place, void* to, const void* from, std::int64_t bytes);
void copy_to_host(const Place& place, void* to, const void* from, std::int64_t bytes);

// y += a·x over n elements of device memory.
void axpy(const Place& place, std::int64_t n, float a, const float* x, float* y);

}  // namespace bitgrid::cuda
