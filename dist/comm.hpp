#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dist/launch.hpp"
#include "kernels/error.hpp"

namespace bitgrid::dist {

// A communicator. Calls marked collective must be made by all its ranks in the same order. Every
// wait has a deadline: past it the job is aborted with one line that says what was waited for, for
// how long and where (exit code 3).
class Comm {
 public:
  // Not collective. Without a launcher: the only rank.
  static Comm world(std::chrono::duration<double> deadline);
  Comm(Comm&&) noexcept;
  Comm& operator=(Comm&&) noexcept;
  ~Comm();       // frees nothing that is collective
  void close();  // collective

  int rank() const;
  int size() const;
  int world_rank() const;  // the one to show people
  std::chrono::duration<double> deadline() const;
  void set_deadline(std::chrono::duration<double> deadline);
  Comm split(int color, int key) const;  // collective

  // All collective, on host memory, in pieces of at most 64 MiB.
  void barrier(const char* what) const;
  void broadcast(std::span<std::byte> bytes, int root, const char* what) const;
  std::string broadcast_text(const std::string& text, int root, const char* what) const;
  // Rank r contributes counts[r] bytes, which lie at offset sum(counts[0…r)) of `bytes` on every
  // rank; afterwards all of `bytes` is there on every rank.
  void all_gather_in_place(std::span<std::byte> bytes, std::span<const std::int64_t> counts,
                           const char* what) const;
  // One text per rank on root; empty elsewhere.
  std::vector<std::string> gather_text(const std::string& text, int root, const char* what) const;
  std::int64_t all_max(std::int64_t value, const char* what) const;
  std::int64_t all_sum(std::int64_t value, const char* what) const;

  // Point to point, blocking with the deadline; messages between two ranks with one tag keep their
  // order. Tags are 0 … kTagCount − 1, and `to` and `from` are other ranks: a rank does not write
  // to itself.
  static constexpr int kTagCount = 32000;
  void send(std::span<const std::byte> bytes, int to, int tag, const char* what) const;
  void receive(std::span<std::byte> bytes, int from, int tag, const char* what) const;

  // The MPI_Comm as the integer that MPI_Comm_c2f gives, so that mpi.h stays in the sources. Only
  // where there is MPI.
  bool has_mpi() const;
  int mpi_handle() const;

 private:
  struct State;
  explicit Comm(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// What ended on one rank, as it crosses ranks.
struct Failure {
  std::string what;
  bool ends_run = false;  // RunError: the run cannot go on
  bool operator==(const Failure&) const = default;
};

// Runs fn and keeps an Error (InputError and RunError are Errors) or a lack of memory as text; of
// other exceptions of the standard library that nothing has given a place (with_context), the run
// cannot go on. Nothing inside may be collective.
template <class Fn>
std::optional<Failure> attempt(Fn&& fn) {
  try {
    fn();
  } catch (const RunError& e) {
    return Failure{e.what(), true};
  } catch (const Error& e) {
    return Failure{e.what(), false};
  } catch (const std::bad_alloc&) {
    return Failure{"out of memory", false};
  } catch (const std::exception& e) {
    return Failure{bug_text(e), true};
  }
  return std::nullopt;
}

// Collective: nothing if no rank failed; else, on every rank, the failure of the lowest failing
// rank (one that ends the run wins). With more than one rank the text starts with "rank 3: ",
// counted in the world.
std::optional<Failure> agree(const Comm& comm, const std::optional<Failure>& failure);

}  // namespace bitgrid::dist
