#pragma once

namespace bitgrid::cuda {

// Throws Error saying which operation was asked for and that no CUDA backend is loaded.
[[noreturn]] void cuda_unavailable(const char* operation);

}  // namespace bitgrid::cuda
