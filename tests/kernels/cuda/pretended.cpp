#include <cstdio>
#include <cstdlib>

#include "kernels/cuda_table.hpp"

// A library that says of itself what BITGRID_TEST_DEVICES tells it: a number of devices, or "none"
// for a machine without a driver.
namespace {

using bitgrid::CudaResult;

const char* wanted() {
  const char* text = std::getenv("BITGRID_TEST_DEVICES");
  return text != nullptr ? text : "0";
}

constexpr bitgrid::CudaTable kTable = {
    .version = bitgrid::kCudaTableVersion,
    .error_text = [] { return "cudaGetDeviceCount(count): cudaErrorInsufficientDriver"; },
    .versions =
        [](char* text, std::int64_t bytes) {
          std::snprintf(text, static_cast<std::size_t>(bytes), "CUDA 99");
          return CudaResult::ok;
        },
    .device_count =
        [](int* count) {
          if (wanted()[0] == 'n') return CudaResult::failed;
          *count = std::atoi(wanted());
          return CudaResult::ok;
        },
    .set_device = nullptr,
    .stream_create = nullptr,
    .stream_destroy = nullptr,
    .stream_synchronize = nullptr,
    .memory_alloc = nullptr,
    .memory_free = nullptr,
    .copy_to_device = nullptr,
    .copy_to_host = nullptr,
    .axpy = nullptr,
};

}  // namespace

extern "C" const bitgrid::CudaTable* bitgrid_cuda_table(int) { return &kTable; }
