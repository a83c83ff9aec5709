#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace bitgrid::test {

// A fresh directory that goes away with its contents.
class TempDirectory {
 public:
  TempDirectory();
  ~TempDirectory();
  TempDirectory(const TempDirectory&) = delete;
  TempDirectory& operator=(const TempDirectory&) = delete;
  std::string path() const { return path_.string(); }
  std::string file(const std::string& name) const { return (path_ / name).string(); }
  void write(const std::string& name, const std::string& bytes) const;

 private:
  std::filesystem::path path_;
};

// The bytes of a safetensors file, from the text of its header, as it is.
std::string safetensors_bytes(const std::string& header, const std::string& data);

struct FileTensor {
  std::string name;
  std::string dtype;
  std::vector<std::int64_t> shape;
  std::string data;
};
// Tensors in the given order, without gaps. The data starts at a multiple of 8 plus shift.
std::string safetensors_bytes(const std::vector<FileTensor>& tensors, int shift = 0);

// Little-endian elements.
std::string bytes_of(const std::vector<std::uint16_t>& values);
std::string bytes_of(const std::vector<float>& values);

// A Llama model small enough to write out: hidden 4, intermediate 6, 2 layers, 2 heads and 1 kv
// head of size 2, 5 tokens.
struct TinyModel {
  bool tied = false;
  std::string layer_count = "2";
  std::string config_json() const;
  // Every tensor bf16; element i of the k-th tensor is the bf16 with the bits 0x3c00 + 64 k + i.
  std::vector<FileTensor> tensors() const;
};

// config.json and one file with everything.
void write_single(const TempDirectory& directory, const std::vector<FileTensor>& tensors,
                  const TinyModel& model = {}, int shift = 0);
// config.json, two shards with the tensors dealt out in turn, and the index.
void write_shards(const TempDirectory& directory, const std::vector<FileTensor>& tensors,
                  const std::string& metadata = "{}");

// The one of that name.
FileTensor& tensor(std::vector<FileTensor>& all, const std::string& name);

}  // namespace bitgrid::test
