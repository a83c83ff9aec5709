# Every library that bitgrid uses, found once; each folder links the ones it needs.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
set(BLA_VENDOR OpenBLAS)
find_package(BLAS REQUIRED)
find_package(LAPACK REQUIRED)
find_package(MPI REQUIRED COMPONENTS C)
find_package(HDF5 REQUIRED COMPONENTS CXX)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(ZLIB REQUIRED)
find_package(TBB CONFIG REQUIRED)
find_package(fmt CONFIG REQUIRED)
find_package(tomlplusplus CONFIG REQUIRED)
find_package(nlohmann_json CONFIG REQUIRED)
find_package(CLI11 CONFIG REQUIRED)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)

# MPI-2's C++ bindings would ask for symbols that nobody links.
target_compile_definitions(MPI::MPI_C INTERFACE OMPI_SKIP_MPICXX=1)

message(STATUS "bitgrid: OpenBLAS ${BLAS_LIBRARIES}")
message(STATUS "bitgrid: MPI ${MPI_C_VERSION}, HDF5 ${HDF5_VERSION}, fmt ${fmt_VERSION}, TBB ${TBB_VERSION}")
