#include "core/checkpoint/checkpoint.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <filesystem>
#include <mutex>
#include <span>
#include <utility>

#include "core/checkpoint/input_file.hpp"
#include "core/checkpoint/strict_json.hpp"
#include "core/checkpoint/tensor_table.hpp"
#include "core/checkpoint/widen.hpp"
#include "kernels/error.hpp"
#include "kernels/sha256.hpp"

namespace bitgrid {
namespace {

constexpr std::uint64_t kConfigBytesMax = 1 << 20;
constexpr std::uint64_t kSampleBytes = 4096;  // at each end of a tensor, in the fingerprint

LlamaConfig read_config(const std::string& directory) {
  std::error_code ignored;
  if (!std::filesystem::is_directory(directory, ignored))
    throw InputError(directory + ": no such model directory");
  const std::string path = (std::filesystem::path(directory) / "config.json").string();
  if (!std::filesystem::exists(path, ignored))
    throw InputError(path + ": missing; a model directory holds config.json and safetensors files");
  return parse_llama_config(read_small_file(path, kConfigBytesMax), path);
}

// Everything that the numbers of a forward pass depend on. Doubles are printed so that they read
// back as themselves.
std::string canonical_text(const LlamaConfig& c) {
  std::string text = fmt::format(
      "hidden {} intermediate {} layers {} heads {} kv_heads {} head_size {} vocab {} positions {} "
      "eps {} theta {} "
      "tied {}\n",
      c.hidden_size, c.intermediate_size, c.layer_count, c.head_count, c.kv_head_count, c.head_size,
      c.vocab_size, c.max_position_embeddings, c.rms_norm_eps, c.rope_theta, c.tie_word_embeddings);
  if (c.rope_scaled)
    text += fmt::format("rope llama3 factor {} low {} high {} original {}\n", c.rope_scaling.factor,
                        c.rope_scaling.low_freq_factor, c.rope_scaling.high_freq_factor,
                        c.rope_scaling.original_max_position_embeddings);
  return text;
}
std::string canonical_text(const TensorInfo& t) {
  std::string text = fmt::format("{} {}", t.name, dtype_name(t.dtype));
  for (const auto n : t.shape) text += fmt::format(" {}", n);
  return text + fmt::format(" {} bytes\n", t.bytes);
}

// A weight as its reader sees it: rows of cols elements.
struct RowShape {
  std::int64_t rows = 0, cols = 0;
};
RowShape row_shape(const TensorInfo& t) {
  if (t.shape.size() == 1) return {1, t.shape[0]};
  return {t.shape[0], t.shape[1]};
}

std::string_view non_finite_name(float v) {
  const auto u = std::bit_cast<std::uint32_t>(v);
  if ((u & 0x7fffffffu) > 0x7f800000u) return "NaN";
  return u >> 31 ? "-infinity" : "infinity";
}

constexpr std::uint64_t kPageBytes = 4096;

// One row of a tensor in fp32; throws where it is not finite.
void widen_row(const TensorInfo& t, std::int64_t row, std::span<const std::byte> source,
               MatrixView<float> out) {
  if (widen(t.dtype, source.data(), out.cols, out.data)) return;
  const auto* bad =
      std::find_if(out.data, out.data + out.cols, [](float v) { return !std::isfinite(v); });
  const std::int64_t column = bad - out.data;
  const auto index =
      t.shape.size() == 1 ? fmt::format("[{}]", column) : fmt::format("[{}, {}]", row, column);
  throw RunError(fmt::format("{}: tensor {}: element {} is {}; weights must be finite", t.file,
                             quote(t.name), index, non_finite_name(*bad)));
}

}  // namespace

struct Checkpoint::State {
  std::string directory;
  LlamaConfig config;
  std::vector<InputFile> files;
  std::vector<TensorInfo> tensors;   // sorted by name
  std::vector<std::size_t> file_of;  // of each tensor, into files
  std::vector<std::string> warnings;
  std::atomic<std::uint64_t> bytes_read = 0;
  std::once_flag fingerprint_once;
  std::string fingerprint;

  const InputFile& file(const TensorInfo& t) const {
    return files[file_of[static_cast<std::size_t>(&t - tensors.data())]];
  }
  // [first, first + count) of a tensor's bytes, still in the file.
  std::span<const std::byte> bytes(const TensorInfo& t, std::uint64_t first,
                                   std::uint64_t count) const {
    const InputFile& f = file(t);
    f.check_size();
    return f.bytes().subspan(t.offset + first, count);
  }
  std::string compute_fingerprint() const {
    Sha256 digest;
    digest.update(canonical_text(config));
    for (const auto& t : tensors) digest.update(canonical_text(t));
    for (const auto& t : tensors) {
      const std::uint64_t head = std::min(t.bytes, kSampleBytes);
      const std::uint64_t tail = std::min(t.bytes - head, kSampleBytes);
      digest.update(bytes(t, 0, head));
      digest.update(bytes(t, t.bytes - tail, tail));
    }
    return digest.hex();
  }
};

Checkpoint::Checkpoint(std::unique_ptr<State> state) : state_(std::move(state)) {}
Checkpoint::Checkpoint(Checkpoint&&) noexcept = default;
Checkpoint& Checkpoint::operator=(Checkpoint&&) noexcept = default;
Checkpoint::~Checkpoint() = default;

Checkpoint Checkpoint::open(const std::string& directory) {
  auto state = std::make_unique<State>();
  state->directory = directory;
  state->config = read_config(directory);
  TensorTable table = open_weight_files(directory);
  keep_llama_tensors(table, state->config, directory);
  for (const auto& [name, stored] : table.tensors) {
    const SafetensorsTensor& t = stored.tensor;
    state->tensors.push_back({.name = name,
                              .dtype = *t.dtype.dtype,
                              .shape = {t.shape.begin(), t.shape.end()},
                              .file = table.files[stored.file].path(),
                              .offset = stored.offset,
                              .bytes = t.end - t.begin});
    state->file_of.push_back(stored.file);
  }
  state->warnings = std::move(table.warnings);
  state->files = std::move(table.files);
  for (auto& file : state->files) file.map();
  return Checkpoint(std::move(state));
}

const std::string& Checkpoint::directory() const { return state_->directory; }
const LlamaConfig& Checkpoint::config() const { return state_->config; }
const std::vector<TensorInfo>& Checkpoint::tensors() const { return state_->tensors; }
const std::vector<std::string>& Checkpoint::warnings() const { return state_->warnings; }
std::uint64_t Checkpoint::bytes_read() const {
  return state_->bytes_read.load(std::memory_order_relaxed);
}

const TensorInfo* Checkpoint::find(const std::string& name) const {
  const auto& all = state_->tensors;
  const auto at =
      std::lower_bound(all.begin(), all.end(), name,
                       [](const TensorInfo& t, const std::string& n) { return t.name < n; });
  return at != all.end() && at->name == name ? &*at : nullptr;
}

const std::string& Checkpoint::fingerprint() const {
  std::call_once(state_->fingerprint_once,
                 [&] { state_->fingerprint = state_->compute_fingerprint(); });
  return state_->fingerprint;
}

void Checkpoint::read_rows(const std::string& name, std::int64_t first,
                           MatrixView<float> out) const {
  const TensorInfo* t = find(name);
  if (t == nullptr) throw Error(fmt::format("{}: no tensor {}", state_->directory, quote(name)));
  const RowShape shape = row_shape(*t);
  if (out.cols != shape.cols || first < 0 || out.rows < 0 || first > shape.rows ||
      out.rows > shape.rows - first)
    throw Error(
        fmt::format("{}: tensor {} is {} x {}: cannot read {} rows of {} columns from row {}",
                    t->file, quote(name), shape.rows, shape.cols, out.rows, out.cols, first));
  const auto row_bytes = static_cast<std::uint64_t>(shape.cols * dtype_bytes(t->dtype));
  const std::uint64_t begin = static_cast<std::uint64_t>(first) * row_bytes;
  const std::uint64_t count = static_cast<std::uint64_t>(out.rows) * row_bytes;
  const auto source = state_->bytes(*t, begin, count);
  state_->file(*t).will_need(t->offset + begin, count);
  for (std::int64_t r = 0; r < out.rows; ++r)
    widen_row(*t, first + r, source.subspan(static_cast<std::uint64_t>(r) * row_bytes, row_bytes),
              out.rows_from(r, 1));
  state_->bytes_read.fetch_add(count, std::memory_order_relaxed);
}

void Checkpoint::read_rows(const std::string& name, std::span<const std::int32_t> which,
                           MatrixView<float> out) const {
  const TensorInfo* t = find(name);
  if (t == nullptr) throw Error(fmt::format("{}: no tensor {}", state_->directory, quote(name)));
  const RowShape shape = row_shape(*t);
  const bool inside = std::all_of(which.begin(), which.end(),
                                  [&](std::int32_t row) { return row >= 0 && row < shape.rows; });
  if (out.cols != shape.cols || out.rows != std::ssize(which) || !inside)
    throw Error(fmt::format("{}: tensor {} is {} x {}: cannot read these {} rows into {} x {}",
                            t->file, quote(name), shape.rows, shape.cols, which.size(), out.rows,
                            out.cols));
  const auto row_bytes = static_cast<std::uint64_t>(shape.cols * dtype_bytes(t->dtype));
  const auto source = state_->bytes(*t, 0, t->bytes);
  const auto begin_of = [&](std::int32_t row) {
    return static_cast<std::uint64_t>(row) * row_bytes;
  };
  // Rows shorter than a page come with their neighbours.
  if (row_bytes >= kPageBytes)
    for (const std::int32_t row : which)
      state_->file(*t).will_need(t->offset + begin_of(row), row_bytes);
  for (std::int64_t r = 0; r < out.rows; ++r) {
    const std::int32_t row = which[static_cast<std::size_t>(r)];
    widen_row(*t, row, source.subspan(begin_of(row), row_bytes), out.rows_from(r, 1));
  }
  state_->bytes_read.fetch_add(which.size() * row_bytes, std::memory_order_relaxed);
}

void Checkpoint::drop_pages(const std::string& name_prefix) const {
  for (const auto& t : state_->tensors)
    if (t.name.starts_with(name_prefix)) state_->file(t).drop(t.offset, t.bytes);
}

}  // namespace bitgrid
