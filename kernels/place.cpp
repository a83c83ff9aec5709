#include "kernels/place.hpp"

#include <cblas.h>

#include <thread>

#include "kernels/parallel.hpp"

namespace bitgrid {

Place cpu_place(int threads) {
  openblas_set_num_threads(1);
  if (threads <= 0) threads = static_cast<int>(std::thread::hardware_concurrency());
  Place place;
  if (threads > 1) place.workers = std::make_shared<Workers>(threads);
  return place;
}

int place_threads(const Place& place) { return place.workers ? place.workers->count() : 1; }

std::string_view blas_core_name() { return openblas_get_corename(); }

}  // namespace bitgrid
