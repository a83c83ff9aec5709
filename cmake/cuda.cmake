# The CUDA backend: AUTO builds it where nvcc is found.
set(BITGRID_CUDA OFF CACHE STRING "CUDA backend: AUTO (where nvcc is found), ON, OFF")
set_property(CACHE BITGRID_CUDA PROPERTY STRINGS AUTO ON OFF)
set(BITGRID_HAVE_CUDA OFF)
