#include <algorithm>

#include "kernels/cuda/axpy.hpp"
#include "kernels/cuda/guarded.hpp"

namespace bitgrid::cuda {
namespace {

constexpr int kThreads = 256;
constexpr std::int64_t kBlocksMax = 4096;  // a thread then takes several elements, a grid apart

__global__ void axpy_kernel(std::int64_t n, float a, const float* x, float* y) {
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < n;
       i += step)
    y[i] = axpy_element(a, x[i], y[i]);
}

}  // namespace

CudaResult axpy(void* stream, std::int64_t n, float a, const float* x, float* y) {
  return guarded([&] {
    if (n == 0) return;  // a grid of no blocks is an error
    const auto blocks = std::min((n + kThreads - 1) / kThreads, kBlocksMax);
    axpy_kernel<<<static_cast<unsigned>(blocks), kThreads, 0, static_cast<cudaStream_t>(stream)>>>(
        n, a, x, y);
    BITGRID_LAUNCH_CHECK();
  });
}

}  // namespace bitgrid::cuda
