#pragma once

#include <cstdint>

#include "kernels/cuda_table.hpp"

// The device itself, as entries of CudaTable; meanings are told there.
namespace bitgrid::cuda {

CudaResult versions(char* text, std::int64_t bytes);
CudaResult device_count(int* count);
CudaResult set_device(int device);
CudaResult stream_create(void** stream);
CudaResult stream_destroy(void* stream);
CudaResult stream_synchronize(void* stream);
CudaResult memory_alloc(void** data, std::int64_t bytes);
CudaResult memory_free(void* data);
CudaResult copy_to_device(void* to, const void* from, std::int64_t bytes, void* stream);
CudaResult copy_to_host(void* to, const void* from, std::int64_t bytes, void* stream);

}  // namespace bitgrid::cuda
