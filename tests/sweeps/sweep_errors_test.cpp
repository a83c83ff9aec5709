// What is refused in a sweep file, and with which words: each message is checked whole, since
// people act on it.
#include <gtest/gtest.h>

#include "kernels/error.hpp"
#include "sweeps/sweep.hpp"
#include "sweeps/sweep_toml.hpp"

namespace bitgrid {
namespace {

// The message that parsing ends with; "" if it does not fail.
std::string message_of(const std::string& text, const SweepOverrides& overrides = {}) {
  try {
    parse_sweep(text, "f.toml", overrides);
  } catch (const InputError& e) {
    return e.what();
  }
  return "";
}

struct Case {
  const char* text;  // lines 3 and on: model and output come before
  const char* message;
};

void check(const std::vector<Case>& cases) {
  for (const auto& c : cases)
    EXPECT_EQ(message_of(std::string("model = \"m\"\noutput = \"o\"\n") + c.text), c.message)
        << c.text;
}

// A grid that is fine, for errors elsewhere; its lines come last.
#define GRID "\n[[grid]]\nmethod = \"fp16\"\n"

TEST(SweepErrors, UnknownKeysAndTables) {
  check({
      {"[calibration]\nwindos = 3" GRID,
       "f.toml:4: unknown key 'windos' in [calibration]; did you mean 'windows'?"},
      {"nmae = \"x\"" GRID, "f.toml:3: unknown key 'nmae'; did you mean 'name'?"},
      {"\n[calibratoin]\nwindows = 3" GRID,
       "f.toml:4: unknown table 'calibratoin'; did you mean 'calibration'?"},
      {"[data]\nzzzzzz = 3" GRID, "f.toml:4: unknown key 'zzzzzz' in [data]; known: dir"},
      {"[run]\ndeadlin = \"1s\"" GRID,
       "f.toml:4: unknown key 'deadlin' in [run]; did you mean 'deadline'?"},
      {"[evaluation]\nbso = \"auto\"" GRID,
       "f.toml:4: unknown key 'bso' in [evaluation]; did you mean 'bos'?"},
      {"[evaluation.more]\nx = 1" GRID,
       "f.toml:3: unknown table 'more' in [evaluation]; known: bos, divergence, length, "
       "limit, mmlu_shots, perplexity, profile, tasks, wave"},
      {"\"a\\nb\" = 1" GRID,
       "f.toml:3: unknown key 'a?b'; known: calibration, data, evaluation, grid, model, name, "
       "output, run"},
  });
}

TEST(SweepErrors, WrongTypes) {
  check({
      {"[calibration]\nwindows = \"128\"" GRID,
       "f.toml:4: calibration.windows: expected an integer, found a string"},
      {"[calibration]\nwindows = 128.0" GRID,
       "f.toml:4: calibration.windows: expected an integer, found a number"},
      {"[calibration]\nlength = [2048]" GRID,
       "f.toml:4: calibration.length: expected an integer, found an array"},
      {"[calibration]\ndata = 4" GRID,
       "f.toml:4: calibration.data: expected a string, found an integer"},
      {"calibration = 3" GRID,
       "f.toml:3: calibration: expected a table [calibration], found an integer"},
      {"name = true" GRID, "f.toml:3: name: expected a string, found a boolean"},
      {"[evaluation]\nperplexity = \"c4\"" GRID,
       "f.toml:4: evaluation.perplexity: expected an array of strings, found a string"},
      {"[evaluation]\nperplexity = [\"c4\",\n 1979-05-27]" GRID,
       "f.toml:5: evaluation.perplexity: expected a string, found a date"},
      {"[evaluation]\nbos = {}" GRID, "f.toml:4: evaluation.bos: expected a string, found a table"},
      {"[run]\nreproducible = 1" GRID,
       "f.toml:4: run.reproducible: expected true or false, found an integer"},
      {"[run]\nstages = 1.5" GRID,
       "f.toml:4: run.stages: expected an integer or \"auto\", found a number"},
      {"[run]\nthreads = \"all\"" GRID,
       "f.toml:4: run.threads: expected an integer or \"auto\", found 'all'"},
      {"[run]\nmemory = 20" GRID, "f.toml:4: run.memory: expected a string, found an integer"},
      {"[grid]\nmethod = \"fp16\"", "f.toml:3: grid: expected tables [[grid]], found a table"},
      {"grid = [3]", "f.toml:3: grid: expected tables [[grid]], found an integer"},
      {"[[grid]]\nmethod = 3", "f.toml:4: method: expected a string, found an integer"},
      {"[[grid]]\nmethod = \"rtn\"\nbits = \"4\"",
       "f.toml:5: bits: expected a number, found a string"},
      {"[[grid]]\nmethod = \"rtn\"\nbits = [4,\n[3]]",
       "f.toml:6: bits: expected a number, found an array"},
      {"[[grid]]\nmethod = \"rtn\"\nbits = 4\ngroup = 32.0",
       "f.toml:6: group: expected an integer, found a number"},
      {"[[grid]]\nmethod = \"gptq\"\nbits = 4\ndamp = \"1\"",
       "f.toml:6: damp: expected a number, found a string"},
      {"[[grid]]\nmethod = \"gptq\"\nbits = 4\norder = 1",
       "f.toml:6: order: expected a string, found an integer"},
      {"[[grid]]\nmethod = \"gptq\"\nbits = 4\nmse = 0",
       "f.toml:6: mse: expected true or false, found an integer"},
  });
}

TEST(SweepErrors, OutOfRange) {
  check({
      {"[calibration]\nwindows = 0" GRID,
       "f.toml:4: calibration.windows: expected an integer from 1 to 1000000, found 0"},
      {"[calibration]\nwindows = 9223372036854775807" GRID,
       "f.toml:4: calibration.windows: expected an integer from 1 to 1000000, found "
       "9223372036854775807"},
      {"[calibration]\nlength = 1" GRID,
       "f.toml:4: calibration.length: expected an integer from 2 to 1048576, found 1"},
      {"[calibration]\nshards = 0" GRID,
       "f.toml:4: calibration.shards: expected an integer from 1 to 65536, found 0"},
      {"[calibration]\nseed = -1" GRID,
       "f.toml:4: calibration.seed: expected an integer from 0 to 9223372036854775807, found -1"},
      {"[evaluation]\nlength = 1" GRID,
       "f.toml:4: evaluation.length: expected an integer from 2 to 1048576, found 1"},
      {"[run]\nstages = 0" GRID,
       "f.toml:4: run.stages: expected an integer from 1 to 65536, found 0"},
      {"[run]\nreplicas = -2" GRID,
       "f.toml:4: run.replicas: expected an integer from 1 to 65536, found -2"},
      {"[run]\nthreads = 5000" GRID,
       "f.toml:4: run.threads: expected an integer from 1 to 4096, found 5000"},
      {"[run]\nmemory = \"20 gigs\"" GRID,
       "f.toml:4: run.memory: expected a size such as \"20GiB\" or \"512 MiB\", found '20 gigs'"},
      {"[run]\nmemory = \"1KiB\"" GRID,
       "f.toml:4: run.memory: expected at least 32 MiB for a rank, found '1KiB'"},
      {"[run]\ndeadline = \"soon\"" GRID,
       "f.toml:4: run.deadline: expected a time such as \"10min\" or \"90s\", found 'soon'"},
      {"[run]\ndevice = \"gpu\"" GRID,
       "f.toml:4: run.device: expected one of auto, cpu, cuda, found 'gpu'"},
      {"[run]\nkeep = \"none\"" GRID,
       "f.toml:4: run.keep: expected one of all, metrics, found 'none'"},
      {"[evaluation]\nbos = \"yes\"" GRID,
       "f.toml:4: evaluation.bos: expected one of auto, always, never, found 'yes'"},
      {"name = \"\"" GRID, "f.toml:3: name: expected a string that is not empty"},
      {"name = \"a\\tb\"" GRID, "f.toml:3: name: expected a string without control characters"},
      {"[[grid]]\nmethod = \"rtn\"\nbits = nan", "f.toml:5: bits: expected a finite number"},
      {"[[grid]]\nmethod = \"gptq\"\nbits = 4\ndamp = inf",
       "f.toml:6: damp: expected a finite number"},
  });
}

TEST(SweepErrors, Sets) {
  check({
      {"[calibration]\ndata = \"wikitex2\"" GRID,
       "f.toml:4: calibration.data: unknown set 'wikitex2'; did you mean 'wikitext2'? (or a path "
       "that ends in .txt or "
       ".jsonl)"},
      {"[evaluation]\nperplexity = [\"c4\", \"lambada-openai\"]" GRID,
       "f.toml:4: evaluation.perplexity: unknown set 'lambada-openai'; known: wikitext2, ptb, "
       "ptb-new, c4, c4-new (or a "
       "path that ends in .txt or .jsonl)"},
      {"[evaluation]\nperplexity = [\"c4\", \"ptb\",\n\"c4\"]" GRID,
       "f.toml:5: evaluation.perplexity: 'c4' is listed twice"},
      {"[evaluation]\nperplexity = [\"/d/a.txt\", \"/d/./a.txt\"]" GRID,
       "f.toml:4: evaluation.perplexity: '/d/a.txt' is listed twice"},
  });
}

TEST(SweepErrors, QuestionSets) {
  check({
      {"[evaluation]\ntasks = [\"piqq\"]" GRID,
       "f.toml:4: evaluation.tasks: unknown task 'piqq'; did you mean 'piqa'? (or the path of a "
       ".toml file that defines one)"},
      {"[evaluation]\nmmlu_shots = 6" GRID,
       "f.toml:4: evaluation.mmlu_shots: expected an integer from 0 to 5, found 6"},
      {"[evaluation]\nwave = \"all\"" GRID,
       "f.toml:4: evaluation.wave: expected one of auto, task, found 'all'"},
      {"[evaluation]\nprofile = \"lmeh\"" GRID,
       "f.toml:4: evaluation.profile: expected one of study, lmeh-0.4, lmeh-0.5, found 'lmeh'"},
      {"[evaluation]\ntasks = [\"piqa\", \"piqa\"]" GRID,
       "f.toml:4: evaluation.tasks: 'piqa' is listed twice"},
      {"[evaluation]\ntasks = 3" GRID,
       "f.toml:4: evaluation.tasks: expected an array of strings, found an integer"},
      {"[[grid]]\nmethod = \"rtn\"\nbits = 8\nbudget = 4.5",
       "f.toml:6: give either bits or a budget of bits, not both"},
  });
}

TEST(SweepErrors, ActivationBits) {
  check({
      {"[[grid]]\nmethod = \"rtn\"\nbits = 8\nactivation_bits = [8,\n32]",
       "f.toml:7: option 'activation_bits' must be a whole number from 2 to 16, not '32'"},
      {"[[grid]]\nmethod = \"smoothquant\"\nbits = 8\nactivation_bits = 1",
       "f.toml:6: option 'activation_bits' must be a whole number from 2 to 16, not '1'"},
      {"[[grid]]\nmethod = \"rtn\"\nbits = 8\nactivation_bits = true",
       "f.toml:6: activation_bits: expected an integer, found a boolean"},
      {"[[grid]]\nmethod = \"fp16\"\nactivation_bits = 8",
       "f.toml:5: method 'fp16' quantizes nothing: activation_bits must be 16 or left out"},
      {"[[grid]]\nmethod = \"rtn\"\nbits = 8\nalpha = 0.5",
       "f.toml:6: rtn does not take 'alpha', an option of smoothquant; a chain that starts with "
       "smoothquant takes it, such as smoothquant+rtn"},
      {"[[grid]]\nmethod = \"gptq\"\nbits = 8\nactivation_range = \"static\"",
       "f.toml:6: gptq does not take 'activation_range', an option of smoothquant; a chain that "
       "starts with smoothquant takes it, such as smoothquant+gptq; activation_bits is for any "
       "method"},
      {"[[grid]]\nmethod = \"smoothquant\"\nbits = 8\nactivation_range = \"row\"",
       "f.toml:6: option 'activation_range' must be one of token, tensor, static, not 'row'"},
  });
}

TEST(SweepErrors, WordsBesideNumbers) {
  check({
      {"[[grid]]\nmethod = \"quip\"\nbits = 2\nrho = \"foo\"",
       "f.toml:6: rho: expected a number or \"auto\", found a string"},
      {"[[grid]]\nmethod = \"quip\"\nbits = 2\nrho = \"auto\"", ""},
      {"[[grid]]\nmethod = \"quip\"\nbits = 2\ndamp = \"auto\"",
       "f.toml:6: damp: expected a number, found a string"},
      {"[[grid]]\nmethod = \"pb-llm\"\nbits = 2\nsalient_bits = 3", ""},
      {"[[grid]]\nmethod = \"pb-llm\"\nbits = 2\nsalient_bits = 9",
       "f.toml:6: option 'salient_bits' must be one of 2, 3, 4, 5, 6, 7, 8, not '9'"},
      {"[[grid]]\nmethod = \"gptq\"\nbits = 2\norder = 3",
       "f.toml:6: order: expected a string, found an integer"},
      {"[[grid]]\nmethod = \"awq+fdb\"\nbits = 2\nclip = true",
       "f.toml:6: awq+fdb does not take 'clip', an option of awq for chains that round onto a "
       "uniform grid (rtn, gptq), such as awq+gptq"},
  });
}

TEST(SweepErrors, Grids) {
  check({
      {"name = \"x\"", "f.toml: no [[grid]]: nothing to do"},
      {"grid = []", "f.toml:3: no [[grid]]: nothing to do"},
      {"[[grid]]\nbits = 3", "f.toml:3: this [[grid]] has no 'method'"},
      {"[[grid]]\nmethod = [\"fp16\", \"rtn\"]",
       "f.toml:3: this [[grid]] has no 'bits', which rtn needs"},
      {"[[grid]]\nmethod = []", "f.toml:4: 'method': an empty array: no cell"},
      {"[[grid]]\nmethod = \"rtn\"\nbits = []", "f.toml:5: 'bits': an empty array: no cell"},
      {"[[grid]]\nmethod = \"fp16\"\ngroup = -1",
       "f.toml:5: fp16 quantizes nothing: it takes no 'group'"},
      {"[[grid]]\nmethod = [\"rtn\", \"gptq\"]\nbits = 4\norder = \"none\"",
       "f.toml:6: rtn does not take 'order', which gptq does: give rtn a [[grid]] of its own"},
      {"[[grid]]\nmethod = \"rtn\"\nbits = 4\norder = \"none\"",
       "f.toml:6: rtn does not take 'order', an option of gptq"},
      {"[[grid]]\nmethod = \"gptq\"\nbits = 4\nordr = \"none\"",
       "f.toml:6: unknown key 'ordr' in [[grid]]; did you mean 'order'?"},
      {"[[grid]]\nmethod = \"rtn\"\nbit = 4\nbits = 4",
       "f.toml:5: unknown key 'bit' in [[grid]]; did you mean 'bits'?"},
  });
}

// These sentences are the registry's; that the line is the culprit's is ours.
TEST(SweepErrors, RecipesAreRefusedAtTheLineOfTheCulprit) {
  const std::vector<std::pair<const char*, const char*>> cases = {
      {"[[grid]]\nmethod = [\"rtn\",\n\"gtpq\"]\nbits = 4", "f.toml:5: unknown method 'gtpq'"},
      {"[[grid]]\nmethod = [\"rtn\",\n\"ir-qlora\"]\nbits = 4", "f.toml:5: "},
      {"[[grid]]\nmethod = \"rtn\"\nbits = [4,\n17]", "f.toml:6: "},
      {"[[grid]]\nmethod = \"rtn\"\nbits = [4,\n1.7]", "f.toml:6: "},
      {"[[grid]]\nmethod = \"fp16\"\nbits = 4", "f.toml:5: "},
      {"[[grid]]\nmethod = \"rtn\"\nbits = 4\ngroup = [32,\n\n0]", "f.toml:8: "},
      {"[[grid]]\nmethod = \"gptq\"\nbits = [4, 3]\ngroup = 32\norder = [\"none\",\n\"random\"]",
       "f.toml:8: "},
      {"[[grid]]\nmethod = \"gptq\"\ndamp = [0.1,\n-1]\nbits = 3", "f.toml:6: "},
  };
  for (const auto& [text, start] : cases) {
    const std::string message = message_of(std::string("model = \"m\"\noutput = \"o\"\n") + text);
    EXPECT_EQ(message.substr(0, std::string(start).size()), start) << text << "\n" << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  }
}

TEST(SweepErrors, MissingKeysAndBrokenToml) {
  EXPECT_EQ(message_of("output = \"o\"" GRID), "f.toml: no 'model': a sweep needs one");
  EXPECT_EQ(message_of("model = \"m\"" GRID), "f.toml: no 'output': a sweep needs one");
  EXPECT_EQ(message_of(""), "f.toml: no 'model': a sweep needs one");
  EXPECT_EQ(message_of("a = \n").substr(0, 9), "f.toml:1:");
  EXPECT_EQ(message_of("\n\na = 1\na = 2\n").substr(0, 9), "f.toml:4:");
  EXPECT_EQ(message_of("a = \"\xff\"\n").substr(0, 9), "f.toml:1:");
  EXPECT_EQ(message_of(std::string("a = \"\0\"\n", 8)).substr(0, 9), "f.toml:1:");
}

TEST(SweepErrors, Set) {
  const std::vector<std::pair<const char*, const char*>> cases = {
      {"calibration.windos=3",
       "--set calibration.windos=3: unknown key 'windos' in [calibration]; did you mean "
       "'windows'?"},
      {"calibration.windows=many",
       "--set calibration.windows=many: calibration.windows: expected an integer, found a string"},
      {"calibration.windows=0",
       "--set calibration.windows=0: calibration.windows: expected an integer from 1 to 1000000, "
       "found 0"},
      {"calibratoin.windows=3",
       "--set calibratoin.windows=3: unknown table 'calibratoin'; did you mean 'calibration'?"},
      {"calibration=3",
       "--set calibration=3: calibration: expected a table [calibration], found an integer"},
      {"name.x=3", "--set name.x=3: name: expected a string, found a table"},
      {"grid.bits=3",
       "--set grid.bits=3: [[grid]] cannot be set from the command line; --cells chooses among its "
       "cells"},
      {"grid=[]",
       "--set grid=[]: [[grid]] cannot be set from the command line; --cells chooses among its "
       "cells"},
      {"calibration.windows",
       "--set calibration.windows: expected KEY=VALUE, such as calibration.windows=16"},
      {"=3", "--set =3: expected KEY=VALUE, such as calibration.windows=16"},
      {"...=3",
       "--set ...=3: unknown table ''; known: calibration, data, evaluation, grid, model, name, "
       "output, run"},
      {"a.b.c.d.e=3", "--set a.b.c.d.e=3: a key of more than 4 parts"},
      {"calibration.seed=99999999999999999999",
       "--set calibration.seed=99999999999999999999: not a TOML value: Error while parsing decimal "
       "integer: '99999999999999999999' is not representable in 64 bits"},
      {"evaluation.perplexity=['c4'",
       "--set evaluation.perplexity=['c4': not a TOML value: Error while parsing array: "
       "encountered end-of-file"},
      {"name=\xff", "--set name=\xff: the value is not UTF-8"},
      {"name=a\nmodel=\"b\"", "--set name=a?model=\"b\": control characters in the value"},
  };
  for (const auto& [set, message] : cases) {
    SweepOverrides overrides;
    overrides.set = {"calibration.seed=3", set};
    EXPECT_EQ(
        message_of("name = \"n\"\nmodel = \"m\"\noutput = \"o\"\n[[grid]]\nmethod = \"fp16\"\n",
                   overrides),
        message);
  }
}

TEST(SweepErrors, Out) {
  SweepOverrides overrides;
  overrides.out = "a\nb";
  EXPECT_EQ(message_of("model = \"m\"" GRID, overrides), "--out: control characters in the path");
  overrides.out = "\xff";
  EXPECT_EQ(message_of("model = \"m\"" GRID, overrides), "--out: the value is not UTF-8");
  overrides.out = "o";
  EXPECT_EQ(message_of("model = \"m\"\noutput = 3" GRID, overrides),
            "f.toml:2: output: expected a string, found an integer");
}

TEST(SweepErrors, Cells) {
  const std::string text =
      "model = \"m\"\noutput = \"o\"\n[[grid]]\nmethod = \"rtn\"\nbits = [4, 3]\n";
  SweepOverrides overrides;
  overrides.cells = "rtn-w4-*,rtn-w5-pc";
  EXPECT_EQ(message_of(text, overrides),
            "--cells: 'rtn-w5-pc' matches no cell; did you mean 'rtn-w4-pc'?");
  overrides.cells = "llama-*";
  EXPECT_EQ(message_of(text, overrides),
            "--cells: 'llama-*' matches no cell; known: rtn-w4-pc, rtn-w3-pc");
  overrides.cells = "rtn-w4-pc,";
  EXPECT_EQ(message_of(text, overrides),
            "--cells: '' matches no cell; known: rtn-w4-pc, rtn-w3-pc");
}

TEST(Hostile, TooManyCellsAreRefusedBeforeTheyAreMade) {
  std::string axis = "[2";
  for (int i = 0; i < 200; ++i) axis += ",2";
  axis += "]";
  const std::string grid = "[[grid]]\nmethod = \"gptq\"\nbits = " + axis + "\ngroup = " + axis;
  const std::string head = "model = \"m\"\noutput = \"o\"\n";
  EXPECT_EQ(message_of(head + grid + "\ndamp = " + axis + "\n"), "f.toml:3: more than 10000 cells");
  EXPECT_EQ(message_of(head + grid), "f.toml:3: more than 10000 cells");
  std::string many = head;
  for (int i = 0; i < 51; ++i) many += "[[grid]]\nmethod = \"rtn\"\nbits = " + axis + "\n";
  EXPECT_EQ(message_of(many), "f.toml:150: more than 10000 cells");
  std::string wide = "[2";
  for (int i = 0; i < 10000; ++i) wide += ",2";
  EXPECT_EQ(message_of(head + "[[grid]]\nmethod = \"rtn\"\nbits = " + wide + "]\n"),
            "f.toml:5: more than 10000 cells");
}

TEST(Hostile, DepthAndSize) {
  std::string dotted = "a";
  for (int i = 0; i < 1000000; ++i) dotted += ".a";
  EXPECT_EQ(message_of("\n" + dotted + " = 1"), "f.toml:2: a key of more than 16 parts");
  EXPECT_EQ(message_of("[" + dotted + "]"), "f.toml:1: a key of more than 16 parts");
  EXPECT_EQ(message_of("x = {" + dotted + " = 1}"), "f.toml:1: a key of more than 16 parts");
  std::string quoted = "x = '''\n#\n''\\'''\n\"a\"";
  for (int i = 0; i < 100000; ++i) quoted += " . \"/\\\"\"";
  EXPECT_EQ(message_of(quoted + " = 1"), "f.toml:4: a key of more than 16 parts");
  // A text may end in quotes of its own; what follows on the line is seen all the same.
  EXPECT_EQ(message_of("x = {y = '''t'''', " + dotted + " = 1}"),
            "f.toml:1: a key of more than 16 parts");
  EXPECT_EQ(message_of("x = " + std::string(100000, '[')).substr(0, 9), "f.toml:1:");
  EXPECT_EQ(message_of("x = " + std::string(20, '[') + std::string(20, ']')),
            "f.toml:1: nested deeper than 16 levels");
  EXPECT_EQ(message_of(std::string((4 << 20) + 1, '\n')),
            "f.toml: larger than 4 MiB, the limit of a sweep file");
  EXPECT_EQ(message_of(std::string(4 << 20, 'a')).find('\n'), std::string::npos);
}

// toml++ takes these for keys unseen; what it makes of them is undefined.
TEST(Hostile, HeadersWithoutAKey) {
  for (const char* header :
       {"[# a]", "[[# a]]", "[ \t= 3", "[.a]", "[[[a]]]", "[", "[[", "[ ", "[]", "[\n"})
    EXPECT_EQ(message_of(std::string("a = [\n[[]],\n]\nb = {c = [2]}\n ") + header),
              "f.toml:5: expected the name of a table behind '['")
        << header;
  EXPECT_EQ(message_of("\xEF\xBB\xBF[#]"), "f.toml:1: expected the name of a table behind '['");
  EXPECT_EQ(message_of("a = 1\n\u00a0[#]"),
            "f.toml:2: a character beyond ASCII outside of a string");
  EXPECT_EQ(message_of("[\u00a0#]"), "f.toml:1: expected the name of a table behind '['");
}

TEST(Hostile, HeadersWithAKeyAreRead) {
  EXPECT_EQ(message_of("\xEF\xBB\xBFmodel = \"m\"\noutput = 'o' # [#\n [ \"data\" ]\ndir = "
                       "\"[#\\\"\"\n[[\tgrid ]]\nmethod = "
                       "[\n'fp16']\n['calibration']\n[ run]"),
            "");
}

TEST(Hostile, DotsInTextAreNotParts) {
  const std::string dots(100, '.');
  const std::string text = "name = \"" + dots + "\" # " + dots + "\nmodel = '" + dots +
                           "'\noutput = \"\"\"" + dots + "\"\"\"\n[data]\ndir = \"\\\"" + dots +
                           "\"\n[[grid]]\nmethod = \"fp16\"\n";
  EXPECT_EQ(message_of(text), "");
}

TEST(Hostile, MessagesAreOneShortLine) {
  const std::string junk(100000, 'x');
  for (const std::string& text : std::vector<std::string>{
           junk + " = 1", "[[grid]]\nmethod = \"" + junk + "\"",
           "[[grid]]\nmethod = \"rtn\\n\\u0007\"",
           "[[grid]]\nmethod = \"gptq\"\nbits = 3\norder = \"" + junk + "\\n\"",
           "[evaluation]\nperplexity = [\"" + junk + "\"]"}) {
    const std::string message = message_of("model = \"m\"\noutput = \"o\"\n" + text);
    EXPECT_FALSE(message.empty());
    EXPECT_LT(message.size(), 2200u);
    EXPECT_EQ(message.find_first_of("\n\a"), std::string::npos) << message;
  }
}

TEST(Quoting, CutsBetweenCharacters) {
  EXPECT_EQ(quote_for_message("a\nb"), "'a?b'");
  const std::string umlauts = std::string(79, 'a') + "ü" + "b";
  EXPECT_EQ(quote_for_message(umlauts), "'" + std::string(79, 'a') + "…'");
  EXPECT_EQ(quote_for_message(std::string(80, 'a')), "'" + std::string(80, 'a') + "'");
  EXPECT_EQ(toml_quote("a\"\\\n\x7f"), "\"a\\\"\\\\\\u000A\\u007F\"");
}

}  // namespace
}  // namespace bitgrid
