#include "dist/progress.hpp"

#include <fmt/core.h>
#include <mpi.h>

#include <utility>

#include "dist/tags.hpp"
#include "dist/wait.hpp"
#include "kernels/error.hpp"

namespace bitgrid::dist {
int take_ticks(const Comm& comm, int from, int forward_to) {
  const MPI_Comm handle = MPI_Comm_f2c(comm.mpi_handle());
  for (int taken = 0;; ++taken) {
    int is_there = 0;
    MPI_Iprobe(from, kTickTag, handle, &is_there, MPI_STATUS_IGNORE);
    if (!is_there) return taken;
    MPI_Recv(nullptr, 0, MPI_BYTE, from, kTickTag, handle, MPI_STATUS_IGNORE);
    tick(comm, forward_to);
  }
}

void tick(const Comm& comm, int to) {
  if (to < 0) return;
  BITGRID_ASSERT(comm.has_mpi() && to < comm.size() && to != comm.rank());
  MPI_Request request;
  MPI_Isend(nullptr, 0, MPI_BYTE, to, kTickTag, MPI_Comm_f2c(comm.mpi_handle()), &request);
  MPI_Request_free(&request);  // it has no buffer to keep
}

void receive_with_ticks(const Comm& comm, std::span<std::byte> bytes, int from, int tag,
                        int forward_to, const char* what) {
  BITGRID_ASSERT(tag < Comm::kTagCount);
  Transfer message = Transfer::receive(comm, bytes, from, tag);
  Waiting waiting(comm, fmt::format("{} (from rank {})", what, from));
  std::int64_t left = message.pieces_left();
  while (left > 0) {
    const bool is_alive = take_ticks(comm, from, forward_to) > 0;
    const std::int64_t before = std::exchange(left, message.pieces_left());
    if (left < before) {
      waiting.restart(Waiting::For::bytes);
    } else if (is_alive) {
      waiting.restart();
    } else {
      waiting.pause();
    }
  }
  // Messages of one rank are matched in the order in which it sent them, so earlier ticks are here.
  take_ticks(comm, from, forward_to);
}

PendingSends::~PendingSends() {
  poll();
  if (!pending_.empty()) new std::vector<Pending>(std::move(pending_));  // MPI still reads it
}

void PendingSends::send(std::vector<std::byte>&& bytes, int to, int tag) {
  const auto keep = std::make_shared<const std::vector<std::byte>>(std::move(bytes));
  send(keep, *keep, to, tag);
}

void PendingSends::send(std::shared_ptr<const void> keep, std::span<const std::byte> bytes, int to,
                        int tag) {
  BITGRID_ASSERT(tag < Comm::kTagCount);
  poll();
  pending_.push_back({std::move(keep), std::ssize(bytes), Transfer::send(*comm_, bytes, to, tag)});
}

void PendingSends::poll() {
  std::erase_if(pending_, [](Pending& pending) { return pending.transfer.done(); });
}

std::int64_t PendingSends::bytes() const {
  std::int64_t total = 0;
  for (const Pending& pending : pending_) total += pending.bytes;
  return total;
}

void PendingSends::wait_all(const char* what) {
  for (Pending& pending : pending_) pending.transfer.wait(what);
  pending_.clear();
}

void PendingSends::wait_until_at_most(std::int64_t limit, const char* what) {
  poll();
  while (bytes() > limit) {
    pending_.front().transfer.wait(what);
    poll();
  }
}

}  // namespace bitgrid::dist
