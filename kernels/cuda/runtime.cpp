#include "kernels/cuda/runtime.hpp"

#include <cublas_v2.h>
#include <cuda_runtime.h>
#include <cusolverDn.h>
#include <nccl.h>

#include <cstdio>
#include <string>

#include "kernels/cuda/guarded.hpp"

namespace bitgrid::cuda {
namespace {

std::string cublas_version() {
  int major = 0, minor = 0, patch = 0;
  BITGRID_CUBLAS_CHECK(cublasGetProperty(MAJOR_VERSION, &major));
  BITGRID_CUBLAS_CHECK(cublasGetProperty(MINOR_VERSION, &minor));
  BITGRID_CUBLAS_CHECK(cublasGetProperty(PATCH_LEVEL, &patch));
  return std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(patch);
}

std::string cusolver_version() {
  int major = 0, minor = 0, patch = 0;
  BITGRID_CUSOLVER_CHECK(cusolverGetProperty(MAJOR_VERSION, &major));
  BITGRID_CUSOLVER_CHECK(cusolverGetProperty(MINOR_VERSION, &minor));
  BITGRID_CUSOLVER_CHECK(cusolverGetProperty(PATCH_LEVEL, &patch));
  return std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(patch);
}

cudaStream_t as_stream(void* stream) { return static_cast<cudaStream_t>(stream); }

}  // namespace

CudaResult versions(char* text, std::int64_t bytes) {
  return guarded([&] {
    int runtime = 0, nccl = 0;
    BITGRID_CUDA_CHECK(cudaRuntimeGetVersion(&runtime));
    BITGRID_NCCL_CHECK(ncclGetVersion(&nccl));
    // CUDA counts 1000·major + 10·minor, NCCL 10000·major + 100·minor + patch.
    std::snprintf(text, static_cast<std::size_t>(bytes),
                  "CUDA %d.%d, cuBLAS %s, cuSOLVER %s, NCCL %d.%d.%d", runtime / 1000,
                  runtime % 1000 / 10, cublas_version().c_str(), cusolver_version().c_str(),
                  nccl / 10000, nccl % 10000 / 100, nccl % 100);
  });
}

CudaResult device_count(int* count) {
  return guarded([&] { BITGRID_CUDA_CHECK(cudaGetDeviceCount(count)); });
}

CudaResult set_device(int device) {
  return guarded([&] { BITGRID_CUDA_CHECK(cudaSetDevice(device)); });
}

// Non-blocking: the default stream of another library in the process must not serialize ours.
CudaResult stream_create(void** stream) {
  return guarded([&] {
    cudaStream_t made = nullptr;
    BITGRID_CUDA_CHECK(cudaStreamCreateWithFlags(&made, cudaStreamNonBlocking));
    *stream = made;
  });
}

CudaResult stream_destroy(void* stream) {
  return guarded([&] { BITGRID_CUDA_CHECK(cudaStreamDestroy(as_stream(stream))); });
}

CudaResult stream_synchronize(void* stream) {
  return guarded([&] { BITGRID_CUDA_CHECK(cudaStreamSynchronize(as_stream(stream))); });
}

CudaResult memory_alloc(void** data, std::int64_t bytes) {
  return guarded([&] { BITGRID_CUDA_CHECK(cudaMalloc(data, static_cast<std::size_t>(bytes))); });
}

CudaResult memory_free(void* data) {
  return guarded([&] { BITGRID_CUDA_CHECK(cudaFree(data)); });
}

CudaResult copy_to_device(void* to, const void* from, std::int64_t bytes, void* stream) {
  return guarded([&] {
    BITGRID_CUDA_CHECK(cudaMemcpyAsync(to, from, static_cast<std::size_t>(bytes),
                                       cudaMemcpyHostToDevice, as_stream(stream)));
  });
}

CudaResult copy_to_host(void* to, const void* from, std::int64_t bytes, void* stream) {
  return guarded([&] {
    BITGRID_CUDA_CHECK(cudaMemcpyAsync(to, from, static_cast<std::size_t>(bytes),
                                       cudaMemcpyDeviceToHost, as_stream(stream)));
  });
}

}  // namespace bitgrid::cuda
