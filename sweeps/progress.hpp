#pragma once

#include <cstdint>
#include <functional>
#include <iosfwd>
#include <string>
#include <string_view>
#include <unordered_map>

namespace bitgrid {

// "0.41 s", "12.3 s", "4 min 20 s", "2 h 5 min", "3 d 4 h".
std::string duration_text(double seconds);

// Something that has ended: a layer of a cell, or a cell (then layer does not matter).
struct ProgressEvent {
  std::string cell;                             // its name
  std::int64_t cell_index = 0, cell_count = 1;  // index from 0
  std::int64_t layer = 0, layer_count = 1;      // layer from 0
  double seconds = 0;                           // that it took
  std::string text;                             // what is worth saying: "loss 12.3"; may be empty
  std::int64_t wave = 0, wave_count = 1;        // of the cell's question sets, from 0
};

// Tells whoever waits how far a sweep is. On a terminal one line is redrawn in place, at most ten
// times a second; in a file there is one line per finished layer and cell, without clock times, so
// that two logs can be compared. Used by rank 0, from one thread.
class Progress {
 public:
  Progress(bool terminal, std::ostream& out);
  // now: seconds on any clock; width: columns of the terminal.
  Progress(bool terminal, std::ostream& out, std::function<double()> now,
           std::function<int()> width);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void layer_done(const ProgressEvent& event);
  void cell_done(
      const ProgressEvent& event);  // finished, failed or kept from an earlier run: text says which
  void wave_done(const ProgressEvent& event);  // not the cell's last
  void note(std::string_view text);            // a line of its own
  void finish();  // leaves no bar behind; further events start a new one

 private:
  void line(std::string_view text);
  void draw(bool even_if_recent);
  void erase();
  std::string bar_line(int width) const;
  double left_s() const;  // NaN as long as nothing was measured

  bool terminal_;
  std::ostream& out_;
  std::function<double()> now_;
  std::function<int()> width_;

  ProgressEvent last_;                                     // what the bars show
  std::unordered_map<std::int64_t, std::int64_t> layers_;  // layers done, by unfinished cell
  std::unordered_map<std::int64_t, bool> finished_;        // cells
  double started_s_;
  std::int64_t layers_measured_ = 0;
  double drawn_s_ = -1;
  bool shown_ = false;  // a bar is on the screen
};

}  // namespace bitgrid
