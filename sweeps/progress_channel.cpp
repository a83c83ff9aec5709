#include "sweeps/progress_channel.hpp"

#include <algorithm>
#include <cstring>

#include "dist/transfer.hpp"
#include "dist/wait.hpp"
#include "sweeps/message_tags.hpp"

namespace bitgrid {

enum class ProgressKind : std::int32_t { layer, wave, cell, farewell };

struct ProgressChannel::Message {
  ProgressKind kind = ProgressKind::layer;
  std::int64_t job = 0;
  std::int64_t layer = 0;
  double seconds = 0;
  char text[216] = {};

  void set_text(const std::string& from) {
    const std::size_t size = std::min(from.size(), sizeof text - 1);
    std::memcpy(text, from.data(), size);
  }
};

struct ProgressChannel::Incoming {
  int from;
  Message message;
  dist::Transfer transfer;
  bool open = true;
  Incoming(const dist::Comm& world, int from)
      : from(from), transfer(dist::Transfer::receive(world, bytes(), from, kProgressTag)) {}
  std::span<std::byte> bytes() { return std::as_writable_bytes(std::span(&message, 1)); }
};

struct ProgressChannel::Outgoing {
  Message message;
  dist::Transfer transfer;
  Outgoing(const dist::Comm& world, const Message& said)
      : message(said),
        transfer(
            dist::Transfer::send(world, std::as_bytes(std::span(&message, 1)), 0, kProgressTag)) {}
};

ProgressChannel::ProgressChannel(const dist::Comm& world, const dist::Topology& topology,
                                 Progress* display, std::vector<JobTitle> jobs,
                                 std::int64_t layer_count)
    : world_(world),
      speaks_(topology.replica() == 0),
      display_(display),
      jobs_(std::move(jobs)),
      layer_count_(layer_count) {
  if (world.rank() != 0) return;
  for (int stage = 1; stage < topology.stages; ++stage)
    incoming_.push_back(std::make_unique<Incoming>(world, topology.rank_of(stage, 0)));
}

ProgressChannel::~ProgressChannel() = default;

void ProgressChannel::layer_done(std::int64_t job, std::int64_t layer, double seconds,
                                 const std::string& text) {
  Message message;
  message.kind = ProgressKind::layer;
  message.job = job;
  message.layer = layer;
  message.seconds = seconds;
  message.set_text(text);
  say(message);
}

void ProgressChannel::cell_done(std::int64_t job, double seconds, const std::string& text) {
  job_done(ProgressKind::cell, job, seconds, text);
}

void ProgressChannel::wave_done(std::int64_t job, double seconds, const std::string& text) {
  job_done(ProgressKind::wave, job, seconds, text);
}

void ProgressChannel::job_done(ProgressKind kind, std::int64_t job, double seconds,
                               const std::string& text) {
  Message message;
  message.kind = kind;
  message.job = job;
  message.seconds = seconds;
  message.set_text(text);
  say(message);
}

void ProgressChannel::say(const Message& message) {
  if (!speaks_) return;
  if (world_.rank() == 0) {
    show(message);
    return;
  }
  outgoing_.remove_if([](const std::unique_ptr<Outgoing>& sent) { return sent->transfer.done(); });
  outgoing_.push_back(std::make_unique<Outgoing>(world_, message));
}

void ProgressChannel::show(const Message& message) {
  ++shown_;
  if (display_ == nullptr || message.kind == ProgressKind::farewell) return;
  ProgressEvent event;
  const JobTitle& job = jobs_[static_cast<std::size_t>(message.job)];
  event.cell = job.cell;
  event.cell_index = job.cell_index;
  event.cell_count = jobs_.back().cell_index + 1;
  event.wave = job.wave;
  event.wave_count = job.wave_count;
  event.layer = message.layer;
  event.layer_count = layer_count_;
  event.seconds = message.seconds;
  event.text = message.text;
  if (message.kind == ProgressKind::cell)
    display_->cell_done(event);
  else if (message.kind == ProgressKind::wave)
    display_->wave_done(event);
  else
    display_->layer_done(event);
}

void ProgressChannel::poll() {
  for (const auto& in : incoming_) {
    while (in->open && in->transfer.done()) {
      const Message message = in->message;
      show(message);
      if (message.kind == ProgressKind::farewell)
        in->open = false;
      else
        in->transfer = dist::Transfer::receive(world_, in->bytes(), in->from, kProgressTag);
    }
  }
  outgoing_.remove_if([](const std::unique_ptr<Outgoing>& sent) { return sent->transfer.done(); });
}

void ProgressChannel::finish() {
  Message farewell;
  farewell.kind = ProgressKind::farewell;
  if (world_.rank() != 0) say(farewell);
  dist::Waiting waiting(world_, "the other stages to finish their cells");
  const auto open = [&] {
    return std::any_of(incoming_.begin(), incoming_.end(), [](const auto& in) { return in->open; });
  };
  std::size_t before = 0;
  while (open() || !outgoing_.empty()) {
    poll();
    if (shown_ != before) waiting.restart();
    before = shown_;
    waiting.pause();
  }
}

}  // namespace bitgrid
