#pragma once

#include <cstdint>

namespace bitgrid {

// What libbitgrid_cuda.so offers to the program: C functions without CUDA types. A change of this
// struct or of what a function means gets a new version; program and library then refuse each other
// with a message.
inline constexpr int kCudaTableVersion = 1;

// What a call returns. After lost the device's context is unusable: nothing on it can be trusted.
enum class CudaResult : int { ok = 0, failed = 1, lost = 2 };

struct CudaTable {
  int version;
  // Of the calling thread's last call that did not return ok: "cudaMalloc(…) at file:line:
  // cudaErrorMemoryAllocation (out of memory)".
  const char* (*error_text)();

  // Library versions, such as "CUDA 13.0, cuBLAS 13.0.0, cuSOLVER 12.0.3, NCCL 2.28.3". Needs no
  // device.
  CudaResult (*versions)(char* text, std::int64_t bytes);
  CudaResult (*device_count)(int* count);
  CudaResult (*set_device)(int device);

  // A stream is a cudaStream_t; it and memory belong to the device that is current when they are
  // made.
  CudaResult (*stream_create)(void** stream);
  CudaResult (*stream_destroy)(void* stream);
  CudaResult (*stream_synchronize)(void* stream);
  CudaResult (*memory_alloc)(void** data, std::int64_t bytes);
  CudaResult (*memory_free)(void* data);
  // Ordered on the stream. Host memory must stay as it is until the stream is synchronized.
  CudaResult (*copy_to_device)(void* to, const void* from, std::int64_t bytes, void* stream);
  CudaResult (*copy_to_host)(void* to, const void* from, std::int64_t bytes, void* stream);

  // y += a·x, n elements of device memory.
  CudaResult (*axpy)(void* stream, std::int64_t n, float a, const float* x, float* y);
};

}  // namespace bitgrid

// The one symbol that the library exports: its table, or null if it has another version than the
// one asked for.
extern "C" const bitgrid::CudaTable* bitgrid_cuda_table(int version);
