#include "kernels/device_memory.hpp"

#include "kernels/cuda_backend.hpp"
#include "kernels/error.hpp"

namespace bitgrid::cuda {

// A destructor has nobody to tell: a handle exists, so the table does, and what release reports is
// known to the next call on the stream.
void StreamTraits::release(Raw raw) noexcept { table("stream_destroy").stream_destroy(raw); }
void DeviceMemoryTraits::release(Raw raw) noexcept { table("memory_free").memory_free(raw); }

Stream make_stream() {
  void* raw = nullptr;
  check(table("stream_create").stream_create(&raw), "stream_create");
  return Stream(raw);
}

DeviceMemory make_device_memory(std::int64_t bytes) {
  BITGRID_ASSERT(bytes >= 0);
  void* raw = nullptr;
  const CudaTable& cuda = table("memory_alloc");
  if (bytes > 0) check(cuda.memory_alloc(&raw, bytes), "memory_alloc");
  return DeviceMemory(raw);
}

Place place_on(const Stream& stream) {
  return {.device = Device::cuda, .workers = nullptr, .stream = stream.get()};
}

void synchronize(const Place& place) {
  check(table("stream_synchronize").stream_synchronize(place.stream), "stream_synchronize");
}

void copy_to_device(const Place& place, void* to, const void* from, std::int64_t bytes) {
  check(table("copy_to_device").copy_to_device(to, from, bytes, place.stream), "copy_to_device");
}

void copy_to_host(const Place& place, void* to, const void* from, std::int64_t bytes) {
  check(table("copy_to_host").copy_to_host(to, from, bytes, place.stream), "copy_to_host");
}

void axpy(const Place& place, std::int64_t n, float a, const float* x, float* y) {
  check(table("axpy").axpy(place.stream, n, a, x, y), "axpy");
}

}  // namespace bitgrid::cuda
