#include "kernels/cuda/check.hpp"

#include <cublas_v2.h>
#include <cuda_runtime.h>
#include <cusolverDn.h>
#include <nccl.h>

#include <algorithm>
#include <cstring>
#include <iterator>

namespace bitgrid::cuda {
namespace {

// Errors after which every further call on the device fails as well: the context is gone.
bool loses_context(cudaError_t error) {
  constexpr cudaError_t fatal[] = {cudaErrorIllegalAddress,      cudaErrorLaunchFailure,
                                   cudaErrorLaunchTimeout,       cudaErrorAssert,
                                   cudaErrorHardwareStackError,  cudaErrorIllegalInstruction,
                                   cudaErrorMisalignedAddress,   cudaErrorInvalidPc,
                                   cudaErrorInvalidAddressSpace, cudaErrorECCUncorrectable,
                                   cudaErrorNvlinkUncorrectable, cudaErrorDevicesUnavailable,
                                   cudaErrorContextIsDestroyed};
  return std::find(std::begin(fatal), std::end(fatal), error) != std::end(fatal);
}

// "/long/way/kernels/cuda/runtime.cpp" -> "kernels/cuda/runtime.cpp": the same text wherever it was
// built.
std::string place_text(const char* file, int line) {
  const char* inside = std::strstr(file, "kernels/");
  return std::string(inside != nullptr ? inside : file) + ":" + std::to_string(line);
}

[[noreturn]] void fail(const char* call, const char* file, int line, const std::string& name,
                       bool lost) {
  throw Failure{std::string(call) + " at " + place_text(file, line) + ": " + name, lost};
}

}  // namespace

void check_cuda(int result, const char* call, const char* file, int line) {
  if (result == cudaSuccess) return;
  const auto error = static_cast<cudaError_t>(result);
  (void)cudaGetLastError();  // an error that does not lose the context is reported once
  fail(call, file, line,
       std::string(cudaGetErrorName(error)) + " (" + cudaGetErrorString(error) + ")",
       loses_context(error));
}

void check_cublas(int result, const char* call, const char* file, int line) {
  if (result == CUBLAS_STATUS_SUCCESS) return;
  const auto status = static_cast<cublasStatus_t>(result);
  fail(call, file, line, cublasGetStatusName(status), status == CUBLAS_STATUS_EXECUTION_FAILED);
}

void check_cusolver(int result, const char* call, const char* file, int line) {
  if (result == CUSOLVER_STATUS_SUCCESS) return;
  fail(call, file, line, "cuSOLVER status " + std::to_string(result),
       result == CUSOLVER_STATUS_EXECUTION_FAILED);
}

void check_nccl(int result, const char* call, const char* file, int line) {
  if (result == ncclSuccess) return;
  const auto status = static_cast<ncclResult_t>(result);
  fail(call, file, line, ncclGetErrorString(status), status == ncclUnhandledCudaError);
}

}  // namespace bitgrid::cuda
