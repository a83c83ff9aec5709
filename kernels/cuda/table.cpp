#include "kernels/cuda/axpy.hpp"
#include "kernels/cuda/guarded.hpp"
#include "kernels/cuda/runtime.hpp"
#include "kernels/cuda_table.hpp"

namespace bitgrid::cuda {

std::string& last_failure() {
  thread_local std::string text;
  return text;
}

namespace {

constexpr CudaTable kTable = {
    .version = kCudaTableVersion,
    .error_text = [] { return last_failure().c_str(); },
    .versions = versions,
    .device_count = device_count,
    .set_device = set_device,
    .stream_create = stream_create,
    .stream_destroy = stream_destroy,
    .stream_synchronize = stream_synchronize,
    .memory_alloc = memory_alloc,
    .memory_free = memory_free,
    .copy_to_device = copy_to_device,
    .copy_to_host = copy_to_host,
    .axpy = axpy,
};

}  // namespace
}  // namespace bitgrid::cuda

extern "C" __attribute__((visibility("default"))) const bitgrid::CudaTable* bitgrid_cuda_table(
    int version) {
  return version == bitgrid::kCudaTableVersion ? &bitgrid::cuda::kTable : nullptr;
}
