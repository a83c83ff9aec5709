#include "sweeps/progress.hpp"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ostream>

namespace bitgrid {
namespace {

constexpr double kRedrawSeconds = 0.1;
constexpr std::string_view kEraseLine = "\r\x1b[K";

double steady_now() {
  const auto since = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double>(since).count();
}

int terminal_width() {
  winsize size{};
  for (const int fd : {STDERR_FILENO, STDOUT_FILENO})
    if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

std::string bar(std::int64_t done, std::int64_t count, int width) {
  const double share =
      count > 0 ? std::clamp(static_cast<double>(done) / static_cast<double>(count), 0.0, 1.0) : 0;
  const int full = static_cast<int>(share * width);
  return " [" + std::string(static_cast<std::size_t>(full), '#') +
         std::string(static_cast<std::size_t>(width - full), '-') + "]";
}

std::string after_comma(std::string_view text) {
  return text.empty() ? "" : ", " + std::string(text);
}

// The cell, and which of its waves where there are several.
std::string title(const ProgressEvent& event) {
  if (event.wave_count == 1) return event.cell;
  return fmt::format("{}, wave {}/{}", event.cell, event.wave + 1, event.wave_count);
}

}  // namespace

std::string duration_text(double seconds) {
  if (!(seconds >= 0) || seconds > 1e12) return "?";
  if (seconds < 9.995) return fmt::format("{:.2f} s", seconds);
  if (seconds < 59.95) return fmt::format("{:.1f} s", seconds);
  const auto whole = std::llround(seconds);
  if (whole < 3600) return fmt::format("{} min {} s", whole / 60, whole % 60);
  const auto minutes = std::llround(seconds / 60);
  if (minutes < 48 * 60) return fmt::format("{} h {} min", minutes / 60, minutes % 60);
  const auto hours = std::llround(seconds / 3600);
  return fmt::format("{} d {} h", hours / 24, hours % 24);
}

Progress::Progress(bool terminal, std::ostream& out)
    : Progress(terminal, out, steady_now, terminal_width) {}

Progress::Progress(bool terminal, std::ostream& out, std::function<double()> now,
                   std::function<int()> width)
    : terminal_(terminal),
      out_(out),
      now_(std::move(now)),
      width_(std::move(width)),
      started_s_(now_()) {}

Progress::~Progress() { finish(); }

void Progress::layer_done(const ProgressEvent& event) {
  last_ = event;
  if (!finished_.count(event.cell_index)) ++layers_[event.cell_index];
  ++layers_measured_;
  if (terminal_) return draw(false);
  line(fmt::format("{}: layer {}/{} done, {}{}", title(event), event.layer + 1, event.layer_count,
                   duration_text(event.seconds), after_comma(event.text)));
}

void Progress::cell_done(const ProgressEvent& event) {
  layers_.erase(event.cell_index);
  finished_[event.cell_index] = true;
  const std::int64_t layer_count = std::max(event.layer_count, last_.layer_count);
  last_ = event;
  last_.layer_count = layer_count;
  last_.layer = layer_count - 1;
  line(fmt::format("{}: cell {}/{}, {}{}", event.cell, finished_.size(), event.cell_count,
                   duration_text(event.seconds), after_comma(event.text)));
}

void Progress::wave_done(const ProgressEvent& event) {
  line(
      fmt::format("{}: {}{}", title(event), duration_text(event.seconds), after_comma(event.text)));
}

void Progress::note(std::string_view text) { line(text); }

void Progress::finish() { erase(); }

// A line that stays, above the bar.
void Progress::line(std::string_view text) {
  const bool was_shown = shown_;
  erase();
  out_ << text << '\n' << std::flush;
  if (terminal_ && was_shown) draw(false);
}

void Progress::erase() {
  if (!shown_) return;
  out_ << kEraseLine << std::flush;
  shown_ = false;
}

void Progress::draw(bool even_if_recent) {
  const double now = now_();
  if (!even_if_recent && drawn_s_ >= 0 && now - drawn_s_ < kRedrawSeconds) return;
  drawn_s_ = now;
  out_ << kEraseLine << bar_line(width_()) << std::flush;
  shown_ = true;
}

// "3/17 cells [###---]  gptq-w4-g32  layer 3/4 [####--]  1 min 20 s left", in less than `width`
// columns: a full line would wrap. What is too much goes, least important first: bars, time, name.
std::string Progress::bar_line(int width) const {
  constexpr int kBarMin = 6, kBarMax = 30;
  const int room = std::max(width - 1, 0);
  const auto size = [](const std::string& s) { return static_cast<int>(s.size()); };
  const auto done = static_cast<std::int64_t>(finished_.size());
  std::string cells = fmt::format("{}/{} cells", done, last_.cell_count);
  std::string layers = fmt::format("layer {}/{}", last_.layer + 1, last_.layer_count);
  std::string name = "  " + title(last_) + "  ";
  const double left = left_s();
  std::string time = std::isnan(left) ? "" : "  " + duration_text(left) + " left";

  const int bar_width = (room - size(cells) - size(name) - size(layers) - size(time)) / 2 - 3;
  if (bar_width >= kBarMin) {
    cells += bar(done, last_.cell_count, std::min(bar_width, kBarMax));
    layers += bar(last_.layer + 1, last_.layer_count, std::min(bar_width, kBarMax));
  }
  if (size(cells) + size(name) + size(layers) + size(time) > room) time.clear();
  if (size(cells) + size(name) + size(layers) > room) name = "  ";
  return (cells + name + layers + time).substr(0, static_cast<std::size_t>(room));
}

// Cells kept from an earlier run shorten what is left without being measured.
double Progress::left_s() const {
  if (layers_measured_ == 0) return std::nan("");
  const std::int64_t each = last_.layer_count * last_.wave_count;
  std::int64_t left = (last_.cell_count - static_cast<std::int64_t>(finished_.size())) * each;
  for (const auto& [cell, layers] : layers_) left -= std::min(layers, each);
  return (now_() - started_s_) / static_cast<double>(layers_measured_) *
         static_cast<double>(std::max<std::int64_t>(left, 0));
}

}  // namespace bitgrid
