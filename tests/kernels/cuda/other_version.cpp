#include "kernels/cuda_table.hpp"

// A library of another version: it knows no table of the version that the program asks for.
extern "C" const bitgrid::CudaTable* bitgrid_cuda_table(int) { return nullptr; }
