#include "dist/stop.hpp"

#include <mpi.h>

#include <algorithm>
#include <cstdint>
#include <span>

#include "dist/tags.hpp"
#include "dist/transfer.hpp"
#include "kernels/error.hpp"

namespace bitgrid::dist {
namespace {

volatile std::sig_atomic_t signalled = 0;
volatile std::sig_atomic_t interrupted = 0;
bool handlers_installed = false;

void on_signal(int signal_number) {
  // A second Ctrl-C is somebody who does not want to wait for the layer to end.
  if (signal_number == SIGINT && interrupted) {
    std::signal(SIGINT, SIG_DFL);
    std::raise(SIGINT);  // it comes when this handler has returned
  }
  if (signal_number == SIGINT) interrupted = 1;
  signalled = 1;
}

}  // namespace

StopRequest::StopRequest(const Comm& world)
    : channel_(world.split(0, world.rank())), heard_(world.size(), false) {
  BITGRID_ASSERT(!handlers_installed);
  handlers_installed = true;
  signalled = 0;
  interrupted = 0;
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(SIGTERM, &action, &term_before_);
  sigaction(SIGUSR1, &action, &usr1_before_);
  sigaction(SIGINT, &action, &int_before_);
  // A shell starts its background jobs with SIGINT ignored: Ctrl-C is not meant for them.
  if (int_before_.sa_handler == SIG_IGN) sigaction(SIGINT, &int_before_, nullptr);
}

StopRequest::~StopRequest() {
  sigaction(SIGTERM, &term_before_, nullptr);
  sigaction(SIGUSR1, &usr1_before_, nullptr);
  sigaction(SIGINT, &int_before_, nullptr);
  handlers_installed = false;
}

bool StopRequest::requested() {
  if (requested_) return true;
  take_word();
  // Who has word from another rank tells nobody: that rank tells all.
  if (!requested_ && signalled) tell();
  return requested_;
}

void StopRequest::raise() {
  if (!requested()) tell();
}

void StopRequest::close() {
  if (closed_) return;
  closed_ = true;
  requested_ = requested_ || signalled;
  if (channel_.size() > 1) {
    std::vector<std::byte> told(channel_.size(), std::byte{0});
    told[channel_.rank()] = std::byte{told_};
    const std::vector<std::int64_t> ones(channel_.size(), 1);
    channel_.all_gather_in_place(told, ones, "the other ranks to end");
    for (int from = 0; from < channel_.size(); ++from) {
      if (told[from] == std::byte{0} || heard_[from] || from == channel_.rank()) continue;
      Transfer::receive(channel_, {}, from, kStopTag).wait("word of a stop request");
      requested_ = true;
    }
  }
  channel_.close();
}

void StopRequest::take_word() {
  if (closed_ || channel_.size() == 1) return;
  const MPI_Comm handle = MPI_Comm_f2c(channel_.mpi_handle());
  for (;;) {
    int is_there = 0;
    MPI_Status status;
    MPI_Iprobe(MPI_ANY_SOURCE, kStopTag, handle, &is_there, &status);
    if (!is_there) return;
    MPI_Recv(nullptr, 0, MPI_BYTE, status.MPI_SOURCE, kStopTag, handle, MPI_STATUS_IGNORE);
    heard_[status.MPI_SOURCE] = true;
    requested_ = true;
  }
}

void StopRequest::tell() {
  requested_ = true;
  if (closed_ || told_) return;
  told_ = true;
  for (int to = 0; to < channel_.size(); ++to) {
    if (to == channel_.rank()) continue;
    MPI_Request request;
    MPI_Isend(nullptr, 0, MPI_BYTE, to, kStopTag, MPI_Comm_f2c(channel_.mpi_handle()), &request);
    MPI_Request_free(&request);  // it has no buffer to keep
  }
}

}  // namespace bitgrid::dist
