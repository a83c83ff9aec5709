#include "dist/launch.hpp"

#include <fmt/core.h>
#include <mpi.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>
#include <string>

#include "dist/comm.hpp"
#include "kernels/error.hpp"

namespace bitgrid::dist {
namespace {

bool running = false;
int own_rank = 0;
int rank_count = 1;

int number(const char* variable) {
  const char* text = std::getenv(variable);
  return text ? std::atoi(text) : 0;
}

[[noreturn]] void end_job(int code) {
  if (running) {
    // MPI_Abort asks a daemon to end the others; should that daemon be what is lost, a signal that
    // nothing handles ends at least this rank.
    signal(SIGALRM, SIG_DFL);
    alarm(10);
    MPI_Abort(MPI_COMM_WORLD, code);
  }
  std::_Exit(code);
}

[[noreturn]] void die(std::string what, int code) {
  std::replace(what.begin(), what.end(), '\n', ' ');
  const std::string where = rank_count > 1 ? fmt::format("rank {}: ", own_rank) : "";
  std::fprintf(stderr, "bitgrid: %s%s\n", where.c_str(), what.c_str());
  std::fflush(nullptr);
  end_job(code);
}

// Runs before any destructor: one that waits for the other ranks would wait for ever.
[[noreturn]] void on_terminate() {
  if (!std::current_exception()) die("terminated without an exception", 3);
  try {
    throw;
  } catch (const InputError& e) {
    die(e.what(), 2);
  } catch (const std::bad_alloc&) {
    die("out of memory", 3);
  } catch (const std::exception& e) {
    die(e.what(), 3);
  } catch (...) {
    die("unknown exception", 3);
  }
}

}  // namespace

bool launched_by_mpi() {
  if (std::getenv("OMPI_COMM_WORLD_SIZE") || std::getenv("PMIX_RANK")) return true;
  int tasks = number("SLURM_STEP_NUM_TASKS");
  if (tasks == 0 && std::getenv("SLURM_STEP_ID")) tasks = number("SLURM_NTASKS");
  if (tasks > 1) {
    throw InputError(fmt::format(
        "srun started {} tasks without PMIx, so they cannot find each other; start them "
        "with `srun --mpi=pmix`, or one task with `srun -n 1`",
        tasks));
  }
  return std::getenv("PMI_RANK") != nullptr;
}

void init(int* argc, char*** argv) {
  std::set_terminate(on_terminate);
  if (!launched_by_mpi()) return;
  // Serialized: the ranks' threads take turns. A worker thread may be the one that dies, and then
  // it calls MPI_Abort while the thread that talks to other ranks waits for it.
  int provided = MPI_THREAD_SINGLE;
  MPI_Init_thread(argc, argv, MPI_THREAD_SERIALIZED, &provided);
  running = true;
  MPI_Comm_rank(MPI_COMM_WORLD, &own_rank);
  MPI_Comm_size(MPI_COMM_WORLD, &rank_count);
  set_abort_handler([] { end_job(3); });
  if (provided < MPI_THREAD_SERIALIZED) {
    throw InputError("this MPI library does not support MPI_THREAD_SERIALIZED");
  }
  const int expected = number("OMPI_COMM_WORLD_SIZE");
  if (expected > 0 && expected != rank_count) {
    throw InputError(
        fmt::format("mpirun started {} ranks, but MPI sees {}; bitgrid was built with "
                    "another MPI library than this mpirun's",
                    expected, rank_count));
  }
}

void finalize(std::chrono::duration<double> deadline) {
  if (!running) return;
  // MPI_Finalize waits for all ranks without a deadline.
  Comm::world(deadline).barrier("the other ranks to end");
  running = false;
  set_abort_handler(nullptr);
  MPI_Finalize();
}

bool mpi_running() { return running; }

}  // namespace bitgrid::dist
