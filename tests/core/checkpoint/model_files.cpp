#include "tests/core/checkpoint/model_files.hpp"

#include <fmt/format.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <stdexcept>

namespace bitgrid::test {

TempDirectory::TempDirectory() {
  std::string name = (std::filesystem::temp_directory_path() / "bitgrid.XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
  path_ = name;
}
TempDirectory::~TempDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}
void TempDirectory::write(const std::string& name, const std::string& bytes) const {
  std::ofstream out(path_ / name, std::ios::binary);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (!out) throw std::runtime_error("cannot write " + file(name));
}

std::string safetensors_bytes(const std::string& header, const std::string& data) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += static_cast<char>(header.size() >> (8 * i) & 0xff);
  return bytes + header + data;
}

std::string safetensors_bytes(const std::vector<FileTensor>& tensors, int shift) {
  std::string header = R"({"__metadata__":{"format":"pt"})";
  std::string data;
  for (const auto& t : tensors) {
    header +=
        fmt::format(R"(,"{}":{{"dtype":"{}","shape":[{}],"data_offsets":[{},{}]}})", t.name,
                    t.dtype, fmt::join(t.shape, ","), data.size(), data.size() + t.data.size());
    data += t.data;
  }
  header += "}";
  while (header.size() % 8 != static_cast<std::size_t>(shift)) header += ' ';
  return safetensors_bytes(header, data);
}

std::string bytes_of(const std::vector<std::uint16_t>& values) {
  std::string bytes;
  for (const auto v : values) bytes += {static_cast<char>(v & 0xff), static_cast<char>(v >> 8)};
  return bytes;
}
std::string bytes_of(const std::vector<float>& values) {
  std::string bytes;
  for (const float v : values) {
    std::uint32_t u;
    std::memcpy(&u, &v, 4);
    for (int i = 0; i < 4; ++i) bytes += static_cast<char>(u >> (8 * i) & 0xff);
  }
  return bytes;
}

std::string TinyModel::config_json() const {
  return R"({"model_type": "llama", "hidden_size": 4, "intermediate_size": 6, "num_hidden_layers": )" +
         layer_count +
         R"(, "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 5, "rms_norm_eps": 1e-5,
  "max_position_embeddings": 16, "rope_theta": 10000.0, "tie_word_embeddings": )" +
         (tied ? "true" : "false") + "}";
}

std::vector<FileTensor> TinyModel::tensors() const {
  std::vector<FileTensor> all;
  const auto add = [&](const std::string& name, std::vector<std::int64_t> shape) {
    std::int64_t count = 1;
    for (const auto n : shape) count *= n;
    std::vector<std::uint16_t> values;
    for (std::int64_t i = 0; i < count; ++i)
      values.push_back(
          static_cast<std::uint16_t>(0x3c00 + 64 * all.size() + static_cast<std::size_t>(i)));
    all.push_back({name, "BF16", std::move(shape), bytes_of(values)});
  };
  add("model.embed_tokens.weight", {5, 4});
  for (const std::string layer : {"model.layers.0.", "model.layers.1."}) {
    add(layer + "input_layernorm.weight", {4});
    add(layer + "self_attn.q_proj.weight", {4, 4});
    add(layer + "self_attn.k_proj.weight", {2, 4});
    add(layer + "self_attn.v_proj.weight", {2, 4});
    add(layer + "self_attn.o_proj.weight", {4, 4});
    add(layer + "post_attention_layernorm.weight", {4});
    add(layer + "mlp.gate_proj.weight", {6, 4});
    add(layer + "mlp.up_proj.weight", {6, 4});
    add(layer + "mlp.down_proj.weight", {4, 6});
  }
  add("model.norm.weight", {4});
  if (!tied) add("lm_head.weight", {5, 4});
  return all;
}

void write_single(const TempDirectory& directory, const std::vector<FileTensor>& tensors,
                  const TinyModel& model, int shift) {
  directory.write("config.json", model.config_json());
  directory.write("model.safetensors", safetensors_bytes(tensors, shift));
}

void write_shards(const TempDirectory& directory, const std::vector<FileTensor>& tensors,
                  const std::string& metadata) {
  std::vector<FileTensor> parts[2];
  std::string map;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    parts[i % 2].push_back(tensors[i]);
    map += (i == 0 ? "\"" : ",\"") + tensors[i].name + "\":\"" + std::to_string(i % 2) +
           ".safetensors\"";
  }
  directory.write("config.json", TinyModel{}.config_json());
  for (int s : {0, 1})
    directory.write(std::to_string(s) + ".safetensors", safetensors_bytes(parts[s]));
  directory.write("model.safetensors.index.json",
                  "{\"metadata\":" + metadata + ",\"weight_map\":{" + map + "}}");
}

FileTensor& tensor(std::vector<FileTensor>& all, const std::string& name) {
  for (auto& t : all)
    if (t.name == name) return t;
  throw std::runtime_error(name);
}

}  // namespace bitgrid::test
