#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "dist/comm.hpp"
#include "dist/transfer.hpp"

namespace bitgrid::dist {

// Hand-over of hidden states between stages. A rank may have to wait for one longer than the
// deadline, as long as the stages before it get on: they say so with a tick after each layer, and a
// rank that waits passes ticks on. The deadline then limits the time between two ticks.
//
// After its last cell a stage waits for the later ones in the same way, in the other direction:
// each ticks to the one before it as well and ends with an empty message.

// "I am alive, a layer is done": a nonblocking empty message. Nobody to tell: to = −1.
void tick(const Comm& comm, int to);

// Takes in the ticks that have come from a rank, passes each on to forward_to (−1: nobody), and
// says how many there were. For waits of other kinds; never waits itself.
int take_ticks(const Comm& comm, int from, int forward_to);

// Comm::receive, whose deadline starts again with each tick from `from`; each is passed on to
// forward_to (−1: nobody). Ticks sent before the message are all taken in.
void receive_with_ticks(const Comm& comm, std::span<std::byte> bytes, int from, int tag,
                        int forward_to, const char* what);

// Messages on their way to other ranks while this one goes on computing; keeps their bytes until
// they are sent. Received with Comm::receive or receive_with_ticks.
class PendingSends {
 public:
  explicit PendingSends(const Comm& comm) : comm_(&comm) {}
  PendingSends(const PendingSends&) = delete;
  PendingSends& operator=(const PendingSends&) = delete;
  ~PendingSends();  // does not wait: what is not sent yet keeps its memory to the end of the
                    // process

  void send(std::vector<std::byte>&& bytes, int to, int tag);
  // Bytes that `keep` holds alive, and that nobody changes.
  void send(std::shared_ptr<const void> keep, std::span<const std::byte> bytes, int to, int tag);

  void
  poll();  // never waits; frees what is sent. Call it after each layer: MPI moves bytes only then
  std::int64_t bytes() const;       // still held
  void wait_all(const char* what);  // with the communicator's deadline
  // Until at most this much is held, oldest first.
  void wait_until_at_most(std::int64_t bytes, const char* what);

 private:
  struct Pending {
    std::shared_ptr<const void> keep;
    std::int64_t bytes;
    Transfer transfer;
  };
  const Comm* comm_;
  std::vector<Pending> pending_;
};

}  // namespace bitgrid::dist
