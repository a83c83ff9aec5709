#include "kernels/cuda_backend.hpp"

#include <string>

#include "kernels/error.hpp"

namespace bitgrid::cuda {

void cuda_unavailable(const char* operation) {
  throw Error("CUDA backend not loaded: operation '" + std::string(operation) +
              "' runs on the CPU only");
}

}  // namespace bitgrid::cuda
