#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/methods/recipe.hpp"

namespace bitgrid {

// A sweep file, read, checked and resolved: defaults filled in, axes multiplied out.
struct Sweep {
  std::string file;  // where it was read
  std::string name;
  // Directories, absolute: the file's relative ones are taken from its folder, --out from the
  // working directory. The same goes for data sets that are given as a path.
  std::string model;
  std::string output;
  std::string data_dir;

  struct Calibration {
    std::string data = "c4";
    std::int64_t windows = 128;
    std::int64_t length = 2048;
    std::int64_t seed = 0;
    std::int64_t shards = 16;
    bool operator==(const Calibration&) const = default;
  } calibration;

  struct Evaluation {
    std::vector<std::string> perplexity;
    std::int64_t length = 2048;
    std::string bos = "auto";  // auto, always, never; of perplexity
    // KL divergence and top-1 agreement with the unquantized model on the perplexity windows, where
    // it is one of the cells.
    bool divergence = true;
    // Question sets: names of built-in ones, or absolute paths of .toml files. Their rows are under
    // data_dir/tasks.
    std::vector<std::string> tasks;
    std::string profile = "lmeh-0.4";  // whose requests they are, see core/evaluation/task.hpp
    std::int64_t mmlu_shots = 5;
    std::int64_t limit = 0;  // only the first rows of every set (and subject); 0: all
    // "auto": as many question sets together as fit in memory; "task": one after the other. Changes
    // no number.
    std::string wave = "auto";
    bool operator==(const Evaluation&) const = default;
  } evaluation;

  struct Run {
    int stages = 0, replicas = 0;  // 0: auto
    int threads = 0;               // per rank; 0: auto
    std::string device = "auto";
    std::int64_t memory_bytes = 0;  // per rank; 0: what the machine has
    double deadline_s = 600;
    // Sums in a fixed order from CUDA and NCCL as well; on the CPU they always are.
    bool reproducible = false;
    bool keep_tensors = true;  // keep = "all"
    bool operator==(const Run&) const = default;
  } run;

  std::vector<Recipe> cells;  // in the order of the file; no two of one name
  // For messages: the line of `file` that gives a cell its budget or group, or begins its [[grid]].
  // No part of what the sweep is: any two are equal.
  struct CellLines {
    std::vector<int> lines;  // by cell; empty: not known
    bool operator==(const CellLines&) const { return true; }
  } cell_lines;
  // The cells that are to be run: all of them, unless --cells picks some. The others stay listed.
  std::vector<std::int64_t> chosen;  // ascending indices into cells
  bool operator==(const Sweep&) const = default;
};

// What the command line adds to the file.
struct SweepOverrides {
  std::string out;  // --out, relative to the working directory
  std::vector<std::string>
      set;            // --set key=value, dotted keys, TOML values ("calibration.windows=16")
  std::string cells;  // --cells 'gptq-w4-*': comma-separated shell patterns on names
};

// Reads and checks the file's own content (not the model or the data). Throws InputError, one line:
// "FILE:LINE: unknown key 'windos' in [calibration]; did you mean 'windows'?"
Sweep read_sweep(const std::string& file, const SweepOverrides& overrides);
Sweep parse_sweep(const std::string& text, const std::string& file,
                  const SweepOverrides& overrides);

// The unquantized cell that the others are compared with on the perplexity windows; nothing where
// none is listed, or nothing is to be compared.
std::optional<std::int64_t> compared_cell(const Sweep& sweep);

// The sweep without the cells that --cells leaves out.
Sweep only_chosen(Sweep sweep);

// The resolved sweep as TOML: what is stored with the results; parsing it again gives the same
// Sweep, with all of its cells chosen.
std::string sweep_text(const Sweep& sweep);

// SHA-256 that makes a cell the same cell: recipe and seed, and, where the recipe uses calibration
// data, the fingerprint of the windows and the number of shards.
std::string cell_key(const Recipe& recipe, const std::string& calibration_fingerprint,
                     std::int64_t shards, std::int64_t seed);

// "20GiB", "512 MiB", "10min", "90s" -> bytes, seconds. Throws InputError.
std::int64_t parse_bytes(const std::string& text);
double parse_seconds(const std::string& text);

}  // namespace bitgrid
