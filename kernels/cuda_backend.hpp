#pragma once

namespace bitgrid::cuda {

// Throws Error: the operation has no CUDA side in this process, and why.
[[noreturn]] void cuda_unavailable(const char* operation);

}  // namespace bitgrid::cuda
