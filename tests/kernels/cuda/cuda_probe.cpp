#include <iostream>

#include "kernels/cuda_backend.hpp"
#include "kernels/error.hpp"

// Prints what a process sees of the CUDA backend, one "key value" a line.
int main() {
  using namespace bitgrid;
  const CudaStatus& status = cuda_status();
  std::cout << "available " << status.available << "\ndevices " << status.devices << "\nreason "
            << status.reason << "\nversions " << status.versions << "\n";
  try {
    cuda::cuda_unavailable("gram");
  } catch (const Error& error) {
    std::cout << "operation " << error.what() << "\n";
  }
  try {
    make_place(Device::cuda, 1);
  } catch (const InputError& error) {
    std::cout << "place " << error.what() << "\n";
  }
  const PlaceChoice choice = make_place(std::nullopt, 1);
  std::cout << "auto " << device_name(choice.place.device) << " " << choice.note << "\n";
}
