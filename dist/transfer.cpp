#include "dist/transfer.hpp"

#include <fmt/core.h>
#include <mpi.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "dist/wait.hpp"
#include "kernels/error.hpp"

namespace bitgrid::dist {
namespace {

std::int64_t piece_bytes_max = std::int64_t{64} << 20;

// A message that needs more than one piece starts with a short one that ends only when both sides
// are there. Before it a rank waits for another rank, with long pauses; after it, for bytes.
constexpr std::int64_t kHeadBytes = std::int64_t{64} << 10;

// Calls piece(offset, count, is_head) for each piece; an empty message is one empty piece.
template <class Fn>
void for_each_piece(std::int64_t bytes, Fn&& piece) {
  const std::int64_t whole = std::min(kHeadBytes, piece_bytes_max);
  if (bytes <= whole) return piece(std::int64_t{0}, static_cast<int>(bytes), false);
  piece(std::int64_t{0}, static_cast<int>(whole), true);
  for (std::int64_t at = whole; at < bytes; at += piece_bytes_max) {
    piece(at, static_cast<int>(std::min(piece_bytes_max, bytes - at)), false);
  }
}

// MPI itself ends the job when a message is longer than its receive.
void check_length(const MPI_Status& status, int expected) {
  int count = 0;
  MPI_Get_count(&status, MPI_BYTE, &count);
  if (count == expected) return;
  fatal(
      fmt::format("a message from rank {} (tag {}) has a piece of {} bytes where {} were expected",
                  status.MPI_SOURCE, status.MPI_TAG, count, expected));
}

}  // namespace

struct Transfer::State {
  const Comm* comm;
  bool sends;
  int peer;
  std::vector<MPI_Request> requests;  // in the order of the bytes
  std::vector<int> counts;            // bytes of each
  std::size_t ended = 0;              // the first `ended` ones are
};

Transfer::Transfer(std::unique_ptr<State> state) : state_(std::move(state)) {}
Transfer::Transfer(Transfer&&) noexcept = default;
Transfer& Transfer::operator=(Transfer&& other) noexcept {
  std::swap(state_, other.state_);
  return *this;
}

Transfer::~Transfer() { BITGRID_ASSERT(!state_ || state_->ended == state_->requests.size()); }

Transfer Transfer::send(const Comm& comm, std::span<const std::byte> bytes, int to, int tag) {
  BITGRID_ASSERT(comm.has_mpi() && to >= 0 && to < comm.size() && to != comm.rank());
  BITGRID_ASSERT(tag >= 0);
  const MPI_Comm handle = MPI_Comm_f2c(comm.mpi_handle());
  auto state = std::make_unique<State>(State{&comm, true, to, {}, {}, 0});
  for_each_piece(std::ssize(bytes), [&](std::int64_t at, int count, bool is_head) {
    const auto start = is_head ? MPI_Issend : MPI_Isend;
    state->counts.push_back(count);
    start(bytes.data() + at, count, MPI_BYTE, to, tag, handle, &state->requests.emplace_back());
  });
  return Transfer(std::move(state));
}

Transfer Transfer::receive(const Comm& comm, std::span<std::byte> bytes, int from, int tag) {
  BITGRID_ASSERT(comm.has_mpi() && from >= 0 && from < comm.size() && from != comm.rank());
  BITGRID_ASSERT(tag >= 0);
  const MPI_Comm handle = MPI_Comm_f2c(comm.mpi_handle());
  auto state = std::make_unique<State>(State{&comm, false, from, {}, {}, 0});
  for_each_piece(std::ssize(bytes), [&](std::int64_t at, int count, bool) {
    state->counts.push_back(count);
    MPI_Irecv(bytes.data() + at, count, MPI_BYTE, from, tag, handle,
              &state->requests.emplace_back());
  });
  return Transfer(std::move(state));
}

std::int64_t Transfer::pieces_left() {
  std::vector<MPI_Request>& requests = state_->requests;
  while (state_->ended < requests.size()) {
    int done = 0;
    MPI_Status status;
    MPI_Test(&requests[state_->ended], &done, &status);
    if (!done) break;
    if (!state_->sends) check_length(status, state_->counts[state_->ended]);
    ++state_->ended;
  }
  return std::ssize(requests) - static_cast<std::int64_t>(state_->ended);
}

void Transfer::wait(const char* what, bool other_is_there) {
  std::int64_t left = pieces_left();
  if (left == 0) return;
  Waiting waiting(*state_->comm,
                  fmt::format("{} ({} rank {})", what, state_->sends ? "to" : "from", state_->peer),
                  other_is_there ? Waiting::For::bytes : Waiting::For::somebody);
  while (left > 0) {
    waiting.pause();
    const std::int64_t before = std::exchange(left, pieces_left());
    if (left < before) waiting.restart(Waiting::For::bytes);
  }
}

std::int64_t piece_bytes() { return piece_bytes_max; }

void set_piece_bytes_for_tests(std::int64_t bytes) {
  BITGRID_ASSERT(bytes > 0 && bytes <= std::int64_t{64} << 20);
  piece_bytes_max = bytes;
}

}  // namespace bitgrid::dist
