#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/cuda_table.hpp"
#include "kernels/place.hpp"

namespace bitgrid {

// The CUDA backend is libbitgrid_cuda.so, opened when somebody first asks for it: one program runs
// with and without toolkit, driver and GPU. BITGRID_CUDA_LIBRARY names the file to open; else it is
// searched beside the program, in
// ../lib from there, and where the dynamic linker looks.
struct CudaStatus {
  bool available = false;  // the library is open and sees a device
  int devices = 0;
  std::string reason;    // why not available; one line, empty if it is
  std::string versions;  // of CUDA, cuBLAS, cuSOLVER and NCCL; empty if the library is not open
};
const CudaStatus& cuda_status();

// Where to compute, and a sentence about the choice for whoever prints (empty: nothing to say).
struct PlaceChoice {
  Place place;
  std::string note;
};
// "cpu", "cuda", or "auto" (none). Throws InputError naming the three.
std::optional<Device> device_from_name(std::string_view name);
// wanted none takes the CPU and says so in note where the machine has a GPU; threads as in
// cpu_place. Throws InputError for Device::cuda, with the reason: this version has CUDA's plumbing,
// but not the kernels of a sweep.
PlaceChoice make_place(std::optional<Device> wanted, int threads);

namespace cuda {

// "CUDA backend not loaded: operation 'gram': <reason>", an Error: what the CUDA side of an
// operation throws when it cannot run here.
[[noreturn]] void cuda_unavailable(const char* operation);

// The open library's table, for the CUDA side of an operation: throws as cuda_unavailable if there
// is none.
const CudaTable& table(const char* operation);
// Turns a result of the table into an Error "operation: what failed"; ends the process if the
// device's context is lost.
void check(CudaResult result, const char* operation);

// The files that are tried in this order, for a program in the folder program_dir (tests).
std::vector<std::string> library_candidates(const std::string& program_dir);

}  // namespace cuda
}  // namespace bitgrid
