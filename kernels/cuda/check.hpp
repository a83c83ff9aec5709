#pragma once

#include <string>

// Checks of calls inside libbitgrid_cuda.so. CUDA's result types convert to int, so this header
// needs none of them.
namespace bitgrid::cuda {

// Thrown and caught inside the library only: guarded() turns it into a CudaResult.
struct Failure {
  std::string text;
  bool lost = false;
};

void check_cuda(int result, const char* call, const char* file, int line);
void check_cublas(int result, const char* call, const char* file, int line);
void check_cusolver(int result, const char* call, const char* file, int line);
void check_nccl(int result, const char* call, const char* file, int line);

}  // namespace bitgrid::cuda

#define BITGRID_CUDA_CHECK(call) ::bitgrid::cuda::check_cuda((call), #call, __FILE__, __LINE__)
#define BITGRID_CUBLAS_CHECK(call) ::bitgrid::cuda::check_cublas((call), #call, __FILE__, __LINE__)
#define BITGRID_CUSOLVER_CHECK(call) \
  ::bitgrid::cuda::check_cusolver((call), #call, __FILE__, __LINE__)
#define BITGRID_NCCL_CHECK(call) ::bitgrid::cuda::check_nccl((call), #call, __FILE__, __LINE__)
// After every launch: what the launch itself reports (a bad grid, no code for this device).
#define BITGRID_LAUNCH_CHECK() \
  ::bitgrid::cuda::check_cuda(cudaGetLastError(), "kernel launch", __FILE__, __LINE__)
