#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/cuda_table.hpp"
#include "kernels/host_device.hpp"

namespace bitgrid::cuda {

// One rounding, on either device.
BITGRID_HD inline float axpy_element(float a, float x, float y) { return fmaf(a, x, y); }

CudaResult axpy(void* stream, std::int64_t n, float a, const float* x, float* y);

}  // namespace bitgrid::cuda
