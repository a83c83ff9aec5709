// Progress lines in a file and the bar on a terminal, with a clock and a width of the test's own.
#include "sweeps/progress.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <sstream>

namespace bitgrid {
namespace {

struct Bench {
  double now = 100;
  int width = 100;
  std::ostringstream out;
  Progress progress;
  explicit Bench(bool terminal)
      : progress(
            terminal, out, [this] { return now; }, [this] { return width; }) {}
  // What was written since the last call.
  std::string take() {
    std::string text = out.str();
    out.str("");
    return text;
  }
};

ProgressEvent event(std::int64_t cell, std::int64_t layer, double seconds = 0.41,
                    std::string text = "loss 12.3") {
  return {"gptq-w4-g32", cell, 3, layer, 4, seconds, std::move(text)};
}

TEST(DurationText, Values) {
  const std::pair<double, const char*> cases[] = {
      {0, "0.00 s"},       {0.414, "0.41 s"},       {9.99, "9.99 s"},
      {9.996, "10.0 s"},   {59.94, "59.9 s"},       {59.96, "1 min 0 s"},
      {80, "1 min 20 s"},  {3599.4, "59 min 59 s"}, {3599.6, "1 h 0 min"},
      {7500, "2 h 5 min"}, {172799, "2 d 0 h"},     {273600, "3 d 4 h"},
      {-1, "?"},           {std::nan(""), "?"},     {HUGE_VAL, "?"}};
  for (const auto& [seconds, text] : cases) EXPECT_EQ(duration_text(seconds), text) << seconds;
}

TEST(ProgressInAFile, OneLineEach) {
  Bench b(false);
  b.progress.layer_done(event(0, 2));
  b.progress.layer_done(event(0, 3, 75, ""));
  b.progress.note("kept: fp16");
  b.progress.cell_done(event(1, 0, 1.7, "wikitext2 6.12"));
  b.progress.finish();
  EXPECT_EQ(b.take(),
            "gptq-w4-g32: layer 3/4 done, 0.41 s, loss 12.3\n"
            "gptq-w4-g32: layer 4/4 done, 1 min 15 s\n"
            "kept: fp16\n"
            "gptq-w4-g32: cell 1/3, 1.70 s, wikitext2 6.12\n");
}

// A cell whose question sets come in waves counts once, when the last one is in; until then its
// layers are passed as often as it has waves.
TEST(ProgressInAFile, Waves) {
  Bench b(false);
  ProgressEvent wave = event(0, 2, 1.5, "");
  wave.wave_count = 2;
  b.progress.layer_done(wave);
  b.progress.wave_done(wave);
  wave.wave = 1;
  b.progress.layer_done(wave);
  b.progress.cell_done(wave);
  EXPECT_EQ(b.take(),
            "gptq-w4-g32, wave 1/2: layer 3/4 done, 1.50 s\n"
            "gptq-w4-g32, wave 1/2: 1.50 s\n"
            "gptq-w4-g32, wave 2/2: layer 3/4 done, 1.50 s\n"
            "gptq-w4-g32: cell 1/3, 1.50 s\n");
}

TEST(ProgressOnATerminal, BarIsRedrawnInPlace) {
  Bench b(true);
  b.now += 2;
  b.progress.layer_done(event(0, 0));
  // 11 more layers at 2 s each; the room of 99 columns is shared by two bars.
  EXPECT_EQ(b.take(),
            "\r\x1b[K0/3 cells [-----------------------]  gptq-w4-g32  layer 1/4 "
            "[#####------------------]  22.0 s left");
  b.now += 2;
  b.progress.layer_done(event(0, 1));
  EXPECT_EQ(b.take(),
            "\r\x1b[K0/3 cells [-----------------------]  gptq-w4-g32  layer 2/4 "
            "[###########------------]  20.0 s left");
}

TEST(ProgressOnATerminal, AtMostTenRedrawsASecond) {
  Bench b(true);
  int drawn = 0;
  for (int i = 0; i < 1000; ++i) {
    b.now += 0.001;
    b.progress.layer_done(event(0, i % 4));
    drawn += b.take().empty() ? 0 : 1;
  }
  EXPECT_GE(drawn, 9);
  EXPECT_LE(drawn, 11);
}

TEST(ProgressOnATerminal, LinesStayAboveTheBar) {
  Bench b(true);
  b.progress.note("before anything");
  EXPECT_EQ(b.take(), "before anything\n");
  b.now += 1;
  b.progress.layer_done(event(0, 0));
  b.take();
  b.now += 1;
  b.progress.cell_done(event(0, 0, 1.7, "c4 9.1"));
  const std::string text = b.take();
  const std::string start = "\r\x1b[Kgptq-w4-g32: cell 1/3, 1.70 s, c4 9.1\n\r\x1b[K1/3 cells [";
  EXPECT_EQ(text.substr(0, start.size()), start);
  EXPECT_NE(text.find("layer 4/4"), std::string::npos);
}

TEST(ProgressOnATerminal, FinishLeavesNothing) {
  Bench b(true);
  b.progress.finish();
  EXPECT_EQ(b.take(), "");
  b.now += 1;
  b.progress.layer_done(event(0, 0));
  b.take();
  b.progress.finish();
  EXPECT_EQ(b.take(), "\r\x1b[K");
  b.progress.finish();
  EXPECT_EQ(b.take(), "");
}

TEST(ProgressOnATerminal, NeverWiderThanTheTerminal) {
  for (int width = 0; width < 140; ++width) {
    Bench b(true);
    b.width = width;
    b.now += 1;
    b.progress.layer_done(event(0, 0));
    const std::string bar = b.take().substr(4);  // behind the erasing
    EXPECT_LE(static_cast<int>(bar.size()), std::max(width - 1, 0)) << bar;
    EXPECT_TRUE(width <= 60 || bar.find("gptq-w4-g32") != std::string::npos) << bar;
    EXPECT_TRUE(width <= 48 || bar.find("left") != std::string::npos) << bar;
  }
}

// Cells kept from an earlier run take no time: they shorten what is left, not the mean.
TEST(ProgressOnATerminal, KeptCellsAreNotMeasured) {
  Bench b(true);
  b.progress.cell_done(event(0, 0, 0, "kept"));
  b.progress.cell_done(event(1, 0, 0, "kept"));
  b.take();
  b.now += 10;
  b.progress.layer_done(event(2, 0));
  EXPECT_NE(b.take().find("  30.0 s left"), std::string::npos);
}

TEST(ProgressOnATerminal, CellsInFlightAreCountedEach) {
  Bench b(true);
  b.now += 1;
  b.progress.layer_done(event(0, 0));
  b.now += 1;
  b.progress.layer_done(event(1, 0));
  b.now += 1;
  b.progress.layer_done(event(0, 1));
  b.take();
  b.now += 1;
  b.progress.layer_done(event(1, 1));
  EXPECT_NE(b.take().find("  8.00 s left"), std::string::npos);  // 4 of 12 in 4 s
}

}  // namespace
}  // namespace bitgrid
