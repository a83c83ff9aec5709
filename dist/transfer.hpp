#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "dist/comm.hpp"

namespace bitgrid::dist {

// One message on its way, of any size: a short head and pieces of 64 MiB. The bytes must stay where
// they are, and must not change, until it is done. MPI moves bytes only while some call into it
// runs, so a rank that goes on computing should poll now and then. The communicator outlives it.
class Transfer {
 public:
  static Transfer send(const Comm& comm, std::span<const std::byte> bytes, int to, int tag);
  static Transfer receive(const Comm& comm, std::span<std::byte> bytes, int from, int tag);
  Transfer(Transfer&&) noexcept;
  Transfer& operator=(Transfer&&) noexcept;
  ~Transfer();  // must be done

  std::int64_t pieces_left();  // polls; never waits
  bool done() { return pieces_left() == 0; }
  // With the communicator's deadline. After the first piece, and from the start if the other rank
  // is known to be there, the wait is for bytes and not for somebody.
  void wait(const char* what, bool other_is_there = false);

 private:
  struct State;
  explicit Transfer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// The largest piece of a message or a collective, 64 MiB: MPI counts are `int`, and Open MPI is
// three times slower on gigabytes at once. Tests make it small, on all ranks alike.
std::int64_t piece_bytes();
void set_piece_bytes_for_tests(std::int64_t bytes);

}  // namespace bitgrid::dist
