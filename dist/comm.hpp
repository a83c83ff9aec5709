#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace bitgrid::dist {

// Whether this process was started by mpirun or srun with MPI. Without a launcher bitgrid never calls MPI: one rank.
// Throws InputError when srun started several tasks without PMIx, which would be several runs on one output.
bool launched_by_mpi();

// MPI for the life of the process; a no-op without a launcher. init installs the terminate handler and the abort handler
// (MPI_Abort), so that a rank that dies of an uncaught exception ends the job instead of leaving the others waiting.
void init(int* argc, char*** argv);
void finalize();  // collective; on the success path only

// A communicator. Calls marked collective must be made by all its ranks in the same order. Every wait has a deadline:
// past it the job is aborted with one line that says what was waited for, for how long and where (exit code 3).
class Comm {
 public:
  static Comm world(std::chrono::duration<double> deadline);  // without a launcher: the only rank
  Comm(Comm&&) noexcept;
  Comm& operator=(Comm&&) noexcept;
  ~Comm();           // frees nothing that is collective
  void close();      // collective

  int rank() const;
  int size() const;
  void set_deadline(std::chrono::duration<double> deadline);
  Comm split(int color, int key) const;  // collective

  // All collective, on host memory, in pieces of at most 64 MiB.
  void barrier(const char* what) const;
  void broadcast(std::span<std::byte> bytes, int root, const char* what) const;
  std::string broadcast_text(const std::string& text, int root, const char* what) const;
  // Rank r contributes counts[r] bytes, which lie at offset sum(counts[0…r)) of `bytes` on every rank; afterwards all of
  // `bytes` is there on every rank.
  void all_gather_in_place(std::span<std::byte> bytes, std::span<const std::int64_t> counts, const char* what) const;
  std::vector<std::string> gather_text(const std::string& text, int root, const char* what) const;  // empty elsewhere
  std::int64_t all_max(std::int64_t value, const char* what) const;
  std::int64_t all_sum(std::int64_t value, const char* what) const;

  // Point to point, blocking with the deadline; messages between two ranks with one tag keep their order.
  void send(std::span<const std::byte> bytes, int to, int tag, const char* what) const;
  void receive(std::span<std::byte> bytes, int from, int tag, const char* what) const;

 private:
  struct State;
  explicit Comm(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Runs fn and keeps an Error, and only that, as text. Nothing inside may be collective. RunError and InputError too.
struct Failure {
  std::string what;
  bool ends_run = false;  // RunError: the run cannot go on
};
template <class Fn>
std::optional<Failure> attempt(Fn&& fn);

// Collective: nothing if no rank failed; else, on every rank, the failure of the lowest failing rank (one that ends the
// run wins). With more than one rank the text starts with "rank 3: ".
std::optional<Failure> agree(const Comm& comm, const std::optional<Failure>& failure);

}  // namespace bitgrid::dist

#include "kernels/error.hpp"

template <class Fn>
std::optional<bitgrid::dist::Failure> bitgrid::dist::attempt(Fn&& fn) {
  try {
    fn();
  } catch (const RunError& e) {
    return Failure{e.what(), true};
  } catch (const Error& e) {
    return Failure{e.what(), false};
  } catch (const std::bad_alloc&) {
    return Failure{"out of memory", false};
  }
  return std::nullopt;
}
