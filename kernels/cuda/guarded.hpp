#pragma once

#include <exception>
#include <string>

#include "kernels/cuda/check.hpp"
#include "kernels/cuda_table.hpp"

namespace bitgrid::cuda {

// The text of the calling thread's last failure, read by CudaTable::error_text.
std::string& last_failure();

// Every function of the table runs its body in here: nothing is thrown across the library's border.
template <class Fn>
CudaResult guarded(Fn&& body) noexcept {
  try {
    body();
    return CudaResult::ok;
  } catch (const Failure& failure) {
    last_failure() = failure.text;
    return failure.lost ? CudaResult::lost : CudaResult::failed;
  } catch (const std::exception& error) {
    last_failure() = error.what();
    return CudaResult::failed;
  }
}

}  // namespace bitgrid::cuda
