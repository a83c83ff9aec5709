#pragma once

#include <memory>
#include <string_view>

namespace bitgrid {

enum class Device { cpu, cuda };
constexpr std::string_view device_name(Device d) { return d == Device::cpu ? "cpu" : "cuda"; }

class Workers;  // a pool of threads, kernels/parallel.hpp

// Where an operation runs: the device, its threads (CPU) or its stream (CUDA). Copied freely;
// operations take it first.
struct Place {
  Device device = Device::cpu;
  std::shared_ptr<Workers> workers;  // null: everything on the calling thread
  void* stream = nullptr;            // cudaStream_t when device is cuda
};

// The CPU with this many threads, the caller's included; 0 asks the machine. BLAS is told to use
// one thread per call: a BLAS result depends on the thread count of the call, so parallelism lives
// above BLAS only.
Place cpu_place(int threads);
int place_threads(const Place& place);

// The name of the BLAS kernel set in use, such as "Haswell": results are the same bytes only on one
// kind of processor.
std::string_view blas_core_name();

}  // namespace bitgrid
