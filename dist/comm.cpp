#include "dist/comm.hpp"

#include <fmt/core.h>
#include <mpi.h>

#include <algorithm>
#include <utility>

#include "dist/tags.hpp"
#include "dist/transfer.hpp"
#include "dist/wait.hpp"

namespace bitgrid::dist {

struct Comm::State {
  MPI_Comm handle = MPI_COMM_NULL;  // null without a launcher
  int rank = 0;
  int size = 1;
  int world_rank = 0;
  std::chrono::duration<double> deadline{0};
};

namespace {

void finish(const Comm& comm, MPI_Request request, const char* what,
            Waiting::For waited_for = Waiting::For::somebody) {
  Waiting waiting(comm, what, waited_for);
  for (;;) {
    int done = 0;
    MPI_Test(&request, &done, MPI_STATUS_IGNORE);
    if (done) return;
    waiting.pause();
  }
}

// Collective. Before much is moved all ranks meet: from then on a wait is for bytes.
Waiting::For meet_before(const Comm& comm, std::int64_t bytes, const char* what) {
  constexpr std::int64_t kSmallBytes = std::int64_t{1} << 20;
  if (bytes <= kSmallBytes) return Waiting::For::somebody;
  comm.barrier(what);
  return Waiting::For::bytes;
}

std::int64_t all_reduce(const Comm& comm, std::int64_t value, MPI_Op op, const char* what) {
  if (!comm.has_mpi()) return value;
  std::int64_t result = 0;
  MPI_Request request;
  MPI_Iallreduce(&value, &result, 1, MPI_INT64_T, op, MPI_Comm_f2c(comm.mpi_handle()), &request);
  finish(comm, request, what);
  return result;
}

}  // namespace

Comm::Comm(std::unique_ptr<State> state) : state_(std::move(state)) {}
Comm::Comm(Comm&&) noexcept = default;
Comm& Comm::operator=(Comm&&) noexcept = default;
Comm::~Comm() = default;

Comm Comm::world(std::chrono::duration<double> deadline) {
  auto state = std::make_unique<State>();
  state->deadline = deadline;
  if (mpi_running()) {
    state->handle = MPI_COMM_WORLD;
    MPI_Comm_rank(MPI_COMM_WORLD, &state->rank);
    MPI_Comm_size(MPI_COMM_WORLD, &state->size);
    state->world_rank = state->rank;
  }
  return Comm(std::move(state));
}

void Comm::close() {
  if (state_->handle == MPI_COMM_NULL || state_->handle == MPI_COMM_WORLD) return;
  barrier("the other ranks to close a communicator");
  MPI_Comm_free(&state_->handle);
}

int Comm::rank() const { return state_->rank; }
int Comm::size() const { return state_->size; }
int Comm::world_rank() const { return state_->world_rank; }
std::chrono::duration<double> Comm::deadline() const { return state_->deadline; }
void Comm::set_deadline(std::chrono::duration<double> deadline) { state_->deadline = deadline; }
bool Comm::has_mpi() const { return state_->handle != MPI_COMM_NULL; }

int Comm::mpi_handle() const {
  BITGRID_ASSERT(has_mpi());
  return MPI_Comm_c2f(state_->handle);
}

Comm Comm::split(int color, int key) const {
  auto state = std::make_unique<State>();
  state->deadline = state_->deadline;
  state->world_rank = state_->world_rank;
  if (has_mpi()) {
    // MPI_Comm_split has no form that can be given up, so wait until all are here first.
    barrier("the other ranks to split a communicator");
    MPI_Comm_split(state_->handle, color, key, &state->handle);
    MPI_Comm_rank(state->handle, &state->rank);
    MPI_Comm_size(state->handle, &state->size);
  }
  return Comm(std::move(state));
}

void Comm::barrier(const char* what) const {
  if (!has_mpi()) return;
  MPI_Request request;
  MPI_Ibarrier(state_->handle, &request);
  finish(*this, request, what);
}

void Comm::broadcast(std::span<std::byte> bytes, int root, const char* what) const {
  BITGRID_ASSERT(root >= 0 && root < size());
  if (size() == 1) return;
  const auto waited_for = meet_before(*this, std::ssize(bytes), what);
  for (std::size_t at = 0; at < bytes.size();) {
    const std::size_t count = std::min<std::size_t>(bytes.size() - at, piece_bytes());
    MPI_Request request;
    MPI_Ibcast(bytes.data() + at, static_cast<int>(count), MPI_BYTE, root, state_->handle,
               &request);
    finish(*this, request, what, waited_for);
    at += count;
  }
}

std::string Comm::broadcast_text(const std::string& text, int root, const char* what) const {
  BITGRID_ASSERT(root >= 0 && root < size());
  if (size() == 1) return text;
  std::int64_t length = std::ssize(text);
  broadcast(std::as_writable_bytes(std::span(&length, 1)), root, what);
  std::string result = rank() == root ? text : std::string(length, '\0');
  broadcast(std::as_writable_bytes(std::span(result)), root, what);
  return result;
}

void Comm::all_gather_in_place(std::span<std::byte> bytes, std::span<const std::int64_t> counts,
                               const char* what) const {
  BITGRID_ASSERT(std::ssize(counts) == size());
  std::int64_t at = 0;
  for (const std::int64_t count : counts) {
    BITGRID_ASSERT(count >= 0 && at + count <= std::ssize(bytes));
    at += count;
  }
  BITGRID_ASSERT(at == std::ssize(bytes));
  if (size() == 1) return;
  const auto waited_for = meet_before(*this, at, what);
  // As many broadcasts at once as make up one piece.
  std::vector<MPI_Request> flying;
  std::int64_t flying_bytes = 0;
  const auto land = [&] {
    for (const MPI_Request request : flying) finish(*this, request, what, waited_for);
    flying.clear();
    flying_bytes = 0;
  };
  std::byte* next = bytes.data();
  for (int root = 0; root < size(); ++root) {
    for (std::int64_t left = counts[root]; left > 0;) {
      const std::int64_t count = std::min(left, piece_bytes());
      MPI_Ibcast(next, static_cast<int>(count), MPI_BYTE, root, state_->handle,
                 &flying.emplace_back());
      next += count;
      left -= count;
      flying_bytes += count;
      if (flying_bytes >= piece_bytes()) land();
    }
  }
  land();
}

std::vector<std::string> Comm::gather_text(const std::string& text, int root,
                                           const char* what) const {
  BITGRID_ASSERT(root >= 0 && root < size());
  if (size() == 1) return {text};
  std::vector<std::int64_t> lengths(size(), 0);
  lengths[rank()] = std::ssize(text);
  const std::vector<std::int64_t> eight(size(), sizeof(std::int64_t));
  all_gather_in_place(std::as_writable_bytes(std::span(lengths)), eight, what);
  if (rank() != root) {
    Transfer::send(*this, std::as_bytes(std::span(text)), root, kGatherTag).wait(what);
    return {};
  }
  std::vector<std::string> texts(size());
  texts[root] = text;
  for (int from = 0; from < size(); ++from) {
    if (from == root) continue;
    texts[from].resize(lengths[from]);
    Transfer::receive(*this, std::as_writable_bytes(std::span(texts[from])), from, kGatherTag)
        .wait(what);
  }
  return texts;
}

std::int64_t Comm::all_max(std::int64_t value, const char* what) const {
  return all_reduce(*this, value, MPI_MAX, what);
}

std::int64_t Comm::all_sum(std::int64_t value, const char* what) const {
  return all_reduce(*this, value, MPI_SUM, what);
}

void Comm::send(std::span<const std::byte> bytes, int to, int tag, const char* what) const {
  BITGRID_ASSERT(tag < kTagCount);
  Transfer::send(*this, bytes, to, tag).wait(what);
}

void Comm::receive(std::span<std::byte> bytes, int from, int tag, const char* what) const {
  BITGRID_ASSERT(tag < kTagCount);
  Transfer::receive(*this, bytes, from, tag).wait(what);
}

std::optional<Failure> agree(const Comm& comm, const std::optional<Failure>& failure) {
  if (comm.size() == 1) return failure;
  // The lowest key wins: first the ranks whose failure ends the run, then the others, then nobody.
  const std::int64_t size = comm.size();
  const std::int64_t key = !failure ? 2 * size : comm.rank() + (failure->ends_run ? 0 : size);
  const char* const what = "the other ranks to agree on going on";
  const std::int64_t first = -comm.all_max(-key, what);
  if (first == 2 * size) return std::nullopt;
  const int root = static_cast<int>(first % size);
  std::string text;
  if (comm.rank() == root) text = fmt::format("rank {}: {}", comm.world_rank(), failure->what);
  return Failure{comm.broadcast_text(text, root, what), first < size};
}

}  // namespace bitgrid::dist
