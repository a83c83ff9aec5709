#include "core/checkpoint/tensor_table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <span>
#include <utility>

#include "core/checkpoint/shard_index.hpp"
#include "core/checkpoint/strict_json.hpp"
#include "core/model/linear.hpp"
#include "kernels/error.hpp"

namespace bitgrid {
namespace {

InputFile open_shard(const std::filesystem::path& path, bool from_index) {
  std::error_code ignored;
  if (from_index && !std::filesystem::exists(path, ignored))
    throw InputError(path.string() + ": the index names this shard, but it is not there");
  return InputFile(path.string());
}

SafetensorsHeader read_header(const InputFile& file) {
  const std::string prefix = file.read(0, std::min<std::uint64_t>(8, file.size()));
  const auto n =
      safetensors_header_bytes(std::as_bytes(std::span(prefix)), file.size(), file.path());
  return parse_safetensors_header(file.read(8, n), file.size(), file.path());
}

// Puts the tensors of one shard into the table; with an index, those it sends to this shard.
class Merger {
 public:
  Merger(TensorTable& table, const WeightFiles& files) : table_(table), files_(files) {}

  void add(SafetensorsHeader header, std::size_t file) {
    for (auto& t : header.tensors) {
      if (!belongs_here(t, file)) continue;
      const std::uint64_t offset = header.data_offset + t.begin;
      bytes_ += t.end - t.begin;
      std::string name = t.name;
      table_.tensors.emplace(std::move(name), StoredTensor{std::move(t), file, offset});
    }
    for (auto& w : header.warnings) table_.warnings.push_back(std::move(w));
  }

  void finish(const std::string& directory) {
    if (!files_.index) return;
    for (const auto& [name, shard] : files_.index->weight_map)
      if (!table_.tensors.contains(name))
        throw InputError(fmt::format("{}/{}: tensor {} is missing, though the index sends it here",
                                     directory, shard, quote(name)));
    for (const auto& copy : copies_) {
      const auto& kept = table_.tensors.at(copy.name).tensor;
      if (kept.dtype.name != copy.dtype.name || kept.shape != copy.shape)
        throw InputError(
            fmt::format("{}: tensor {} is in two shards with different dtypes or shapes", directory,
                        quote(copy.name)));
    }
    if (unmapped_count_ > 0)
      table_.warnings.push_back(
          fmt::format("{}: {} tensors that the index does not name are ignored, such as {}",
                      directory, unmapped_count_, quote(unmapped_)));
    if (files_.index->total_size && *files_.index->total_size != bytes_)
      table_.warnings.push_back(
          fmt::format("{}: the index says total_size = {}, its tensors have {} bytes", directory,
                      *files_.index->total_size, bytes_));
  }

 private:
  bool belongs_here(const SafetensorsTensor& t, std::size_t file) {
    if (!files_.index) return true;
    const auto entry = files_.index->weight_map.find(t.name);
    if (entry == files_.index->weight_map.end()) {
      if (unmapped_count_++ == 0) unmapped_ = t.name;
      return false;
    }
    if (entry->second == files_.names[file]) return true;
    copies_.push_back(t);
    return false;
  }

  TensorTable& table_;
  const WeightFiles& files_;
  std::vector<SafetensorsTensor> copies_;  // of tensors that the index takes from another shard
  std::uint64_t bytes_ = 0;
  std::size_t unmapped_count_ = 0;
  std::string unmapped_;
};

std::string shape_text(std::span<const std::uint64_t> shape) {
  std::string text;
  for (const auto n : shape) text += (text.empty() ? "" : ", ") + std::to_string(n);
  return "[" + text + "]";
}

// Takes the expected tensors out of a table one by one, so that a configuration with absurd numbers
// stops at the first tensor that is missing.
class LlamaTensors {
 public:
  LlamaTensors(TensorTable& table, const std::string& directory)
      : table_(table), directory_(directory) {}

  void expect(const std::string& name, const std::vector<std::uint64_t>& shape) {
    auto node = table_.tensors.extract(name);
    if (node.empty())
      throw InputError(fmt::format("{}: tensor {} is missing (config.json asks for it)", directory_,
                                   quote(name)));
    const SafetensorsTensor& t = node.mapped().tensor;
    const std::string& file = table_.files[node.mapped().file].path();
    if (t.shape != shape)
      throw InputError(fmt::format("{}: tensor {}: shape {}, config.json asks for {}", file,
                                   quote(name), shape_text(t.shape), shape_text(shape)));
    if (t.dtype.dtype != DType::bf16 && t.dtype.dtype != DType::f16 && t.dtype.dtype != DType::f32)
      throw InputError(fmt::format("{}: tensor {}: dtype {}, weights must be BF16, F16 or F32",
                                   file, quote(name), t.dtype.name));
    kept_.insert(std::move(node));
  }

  // name need not be there; its content plays no part.
  bool ignore(const std::string& name) { return table_.tensors.erase(name) > 0; }

  void finish() {
    if (!table_.tensors.empty()) {
      const auto& [name, stored] = *table_.tensors.begin();
      throw InputError(
          fmt::format("{}: tensor {} is not part of a Llama model with this config.json",
                      table_.files[stored.file].path(), quote(name)));
    }
    table_.tensors = std::move(kept_);
  }

 private:
  TensorTable& table_;
  const std::string& directory_;
  std::map<std::string, StoredTensor> kept_;
};

}  // namespace

TensorTable open_weight_files(const std::string& directory) {
  const WeightFiles files = find_weight_files(directory);
  TensorTable table;
  Merger merger(table, files);
  for (const auto& name : files.names) {
    table.files.push_back(
        open_shard(std::filesystem::path(directory) / name, files.index.has_value()));
    merger.add(read_header(table.files.back()), table.files.size() - 1);
  }
  merger.finish(directory);
  return table;
}

void keep_llama_tensors(TensorTable& table, const LlamaConfig& config,
                        const std::string& directory) {
  std::int64_t ignored = 0;
  if (__builtin_mul_overflow(config.head_count, config.head_size, &ignored) ||
      __builtin_mul_overflow(config.kv_head_count, config.head_size, &ignored))
    throw InputError(directory + "/config.json: the sizes of the attention do not fit 64 bits");
  const auto size = [](std::int64_t n) { return static_cast<std::uint64_t>(n); };
  const auto hidden = size(config.hidden_size);
  const std::vector<std::uint64_t> vocab_by_hidden = {size(config.vocab_size), hidden};

  LlamaTensors tensors(table, directory);
  tensors.expect("model.embed_tokens.weight", vocab_by_hidden);
  tensors.expect("model.norm.weight", {hidden});
  if (!config.tie_word_embeddings) {
    tensors.expect("lm_head.weight", vocab_by_hidden);
  } else if (tensors.ignore("lm_head.weight")) {
    table.warnings.push_back(
        directory +
        ": lm_head.weight is ignored: tie_word_embeddings is true, the embedding "
        "serves as the head");
  }
  bool has_frequencies = false;
  for (std::int64_t layer = 0; layer < config.layer_count; ++layer) {
    const std::string prefix = layer_prefix(layer);
    tensors.expect(prefix + "input_layernorm.weight", {hidden});
    tensors.expect(prefix + "post_attention_layernorm.weight", {hidden});
    for (const Linear linear : kLinears)
      tensors.expect(fmt::format("{}{}.weight", prefix, linear_name(linear)),
                     {size(linear_rows(config, linear)), size(linear_cols(config, linear))});
    has_frequencies |= tensors.ignore(prefix + "self_attn.rotary_emb.inv_freq");
  }
  if (has_frequencies)
    table.warnings.push_back(directory +
                             ": rotary_emb.inv_freq tensors are ignored: config.json decides");
  tensors.finish();
}

}  // namespace bitgrid
