#pragma once

// BITGRID_HD marks an inline function that a CUDA kernel and the CPU call alike: the arithmetic of
// one item lives in one place, and a host test covers what the kernel computes.
#if defined(__CUDACC__)
#define BITGRID_HD __host__ __device__
#else
#define BITGRID_HD
#endif
