#pragma once

#include <chrono>

namespace bitgrid::dist {

// Whether this process was started by mpirun or srun with MPI. Without a launcher bitgrid never
// calls MPI: one rank. Throws InputError when srun started several tasks without PMIx, which would
// be several runs on one output.
bool launched_by_mpi();

// MPI for the life of the process; a no-op without a launcher. init installs the terminate handler
// and the abort handler (MPI_Abort), so that a rank that dies of an uncaught exception ends the job
// instead of leaving the others waiting: with exit code 2 after an InputError, else 3.
void init(int* argc, char*** argv);
// Collective; on the success path only.
void finalize(std::chrono::duration<double> deadline = std::chrono::minutes(10));

bool mpi_running();  // between init and finalize, under a launcher

}  // namespace bitgrid::dist
