#include "kernels/place.hpp"

#include <cblas.h>
#include <sys/mman.h>

#include <string>
#include <thread>
#include <vector>

#include "kernels/error.hpp"
#include "kernels/parallel.hpp"

namespace bitgrid {
namespace {

// OpenBLAS takes one buffer of this size per concurrent call, keeps it, and asks for ever if it is
// refused: a limit on memory (ulimit -v, a small container) would hang the program instead of
// failing it. So the buffers are asked for once, here, after seeing that they are to be had.
constexpr std::size_t kBlasBufferBytes = std::size_t{130} << 20;

void reserve_blas_buffers(const Place& place, int threads) {
  const std::size_t bytes = kBlasBufferBytes * static_cast<std::size_t>(threads + 1);
  void* probe = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (probe == MAP_FAILED)
    throw InputError("not enough memory for BLAS: " + std::to_string(threads) + " threads need " +
                     std::to_string(bytes >> 20) +
                     " MiB of address space; raise the limit (ulimit -v) or use fewer threads");
  munmap(probe, bytes);
  parallel_for(place, 4 * threads, [](std::int64_t) {
    constexpr int n = 64;
    std::vector<float> a(n * n, 1.0f), c(n * n);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, n, n, n, 1.0f, a.data(), n, a.data(), n,
                0.0f, c.data(), n);
  });
}

}  // namespace

Place cpu_place(int threads) {
  openblas_set_num_threads(1);
  if (threads <= 0) threads = static_cast<int>(std::thread::hardware_concurrency());
  Place place;
  if (threads > 1) place.workers = std::make_shared<Workers>(threads);
  reserve_blas_buffers(place, threads);
  return place;
}

int place_threads(const Place& place) { return place.workers ? place.workers->count() : 1; }

std::string_view blas_core_name() { return openblas_get_corename(); }

}  // namespace bitgrid
