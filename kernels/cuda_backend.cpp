#include "kernels/cuda_backend.hpp"

#include <dlfcn.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "kernels/error.hpp"

namespace bitgrid {
namespace {

constexpr const char* kLibraryName = "libbitgrid_cuda.so";
constexpr const char* kDriverDevice = "/dev/nvidiactl";  // there where the driver is
constexpr const char* kTableSymbol = "bitgrid_cuda_table";

struct Backend {
  const CudaTable* table = nullptr;
  CudaStatus status;
};

std::string program_dir() {
  std::error_code error;
  return std::filesystem::read_symlink("/proc/self/exe", error).parent_path().string();
}

// A path must exist to be tried, so that the message tells a missing file from one that does not
// load; a bare name is left to the dynamic linker.
bool worth_trying(const std::string& file) {
  std::error_code error;
  return file.find('/') == std::string::npos || std::filesystem::exists(file, error);
}

// Never closed: the CUDA runtime does not survive that. Sets reason if nothing could be opened.
void* open_library(const std::vector<std::string>& candidates, std::string& file,
                   std::string& reason) {
  for (const std::string& candidate : candidates) {
    if (!worth_trying(candidate)) continue;
    file = candidate;
    if (void* library = dlopen(candidate.c_str(), RTLD_NOW | RTLD_LOCAL)) return library;
    const char* text = dlerror();
    reason = text != nullptr ? text : fmt::format("{} cannot be opened", candidate);
    if (candidate.find('/') != std::string::npos) return nullptr;  // ours, but it does not load
  }
  if (candidates.size() == 1)
    reason = fmt::format("{}: no such file", candidates.front());
  else
    reason = fmt::format("{} is not installed", kLibraryName);
  return nullptr;
}

void find_devices(Backend& backend) {
  const CudaTable& table = *backend.table;
  CudaStatus& status = backend.status;
  char versions[200] = "";
  if (table.versions(versions, sizeof(versions)) == CudaResult::ok) status.versions = versions;
  // Without a driver this is cudaErrorInsufficientDriver, and the count is not written.
  if (table.device_count(&status.devices) != CudaResult::ok) {
    status.devices = 0;
    status.reason = table.error_text();
  } else if (status.devices == 0) {
    status.reason = "no CUDA device";
  } else {
    status.available = true;
  }
}

Backend load() {
  Backend backend;
  std::string& reason = backend.status.reason;
  std::string file;
  void* library = open_library(cuda::library_candidates(program_dir()), file, reason);
  if (library == nullptr) return backend;
  const auto entry = reinterpret_cast<const CudaTable* (*)(int)>(dlsym(library, kTableSymbol));
  if (entry == nullptr) {
    reason = fmt::format("{} has no symbol {}", file, kTableSymbol);
    return backend;
  }
  backend.table = entry(kCudaTableVersion);
  if (backend.table == nullptr || backend.table->version != kCudaTableVersion) {
    backend.table = nullptr;
    reason = fmt::format("{} was built for another version of bitgrid (table version {} is needed)",
                         file, kCudaTableVersion);
    return backend;
  }
  find_devices(backend);
  return backend;
}

const Backend& backend() {
  static const Backend loaded = load();
  return loaded;
}

}  // namespace

const CudaStatus& cuda_status() { return backend().status; }

std::optional<Device> device_from_name(std::string_view name) {
  if (name == "auto") return std::nullopt;
  if (name == device_name(Device::cpu)) return Device::cpu;
  if (name == device_name(Device::cuda)) return Device::cuda;
  throw InputError(fmt::format("device '{}' is unknown: 'auto', 'cpu' or 'cuda'", name));
}

PlaceChoice make_place(std::optional<Device> wanted, int threads) {
  if (wanted == Device::cuda) {
    const CudaStatus& status = cuda_status();
    throw InputError(fmt::format(
        "device 'cuda': {}; use 'cpu' or 'auto'",
        status.available ? "this version computes sweeps on the CPU only" : status.reason));
  }
  PlaceChoice choice{.place = cpu_place(threads), .note = {}};
  // The library is not opened for this: with the toolkit behind it that reads a gigabyte from disk.
  if (!wanted && access(kDriverDevice, F_OK) == 0)
    choice.note = "device 'auto': there is a GPU, but this version computes on the CPU.";
  return choice;
}

namespace cuda {

void cuda_unavailable(const char* operation) {
  const CudaStatus& status = cuda_status();
  throw Error(
      fmt::format("CUDA backend not loaded: operation '{}': {}", operation,
                  status.available ? "this version computes it on the CPU only" : status.reason));
}

const CudaTable& table(const char* operation) {
  if (!cuda_status().available) cuda_unavailable(operation);
  return *backend().table;
}

void check(CudaResult result, const char* operation) {
  if (result == CudaResult::ok) return;
  const std::string text = fmt::format("{}: {}", operation, table(operation).error_text());
  if (result == CudaResult::lost) fatal(text);
  throw Error(text);
}

std::vector<std::string> library_candidates(const std::string& program_dir) {
  if (const char* named = std::getenv("BITGRID_CUDA_LIBRARY"); named != nullptr && *named != '\0')
    return {named};
  return {program_dir + "/" + kLibraryName, program_dir + "/../lib/" + kLibraryName, kLibraryName};
}

}  // namespace cuda
}  // namespace bitgrid
