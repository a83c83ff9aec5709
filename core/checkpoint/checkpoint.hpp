#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/model/llama_config.hpp"
#include "kernels/dtype.hpp"
#include "kernels/matrix.hpp"

namespace bitgrid {

struct TensorInfo {
  std::string name;
  DType dtype = DType::bf16;
  std::vector<std::int64_t> shape;
  std::string file;          // path of the shard
  std::uint64_t offset = 0;  // of the first byte, from the start of the file
  std::uint64_t bytes = 0;
};

// A Hugging Face model directory: config.json and one or more safetensors files, validated whole
// (headers only) before any weight is touched, then memory-mapped. Reading is thread-safe; only
// what is asked for is read.
class Checkpoint {
 public:
  // Throws InputError naming file, tensor and rule.
  static Checkpoint open(const std::string& directory);
  Checkpoint(Checkpoint&&) noexcept;
  Checkpoint& operator=(Checkpoint&&) noexcept;
  ~Checkpoint();

  const std::string& directory() const;
  const LlamaConfig& config() const;
  const std::vector<TensorInfo>& tensors() const;  // sorted by name
  const TensorInfo* find(const std::string& name) const;
  const std::vector<std::string>& warnings() const;  // harmless oddities, for the log
  // SHA-256 over the configuration, the table of tensors and a sample of every tensor's bytes.
  const std::string& fingerprint() const;

  // Rows [first, first + count) of a tensor ([n] counts as one row of n), widened to fp32. Adds to
  // bytes_read(). Throws RunError naming the tensor and the index of the first NaN or infinity.
  void read_rows(const std::string& name, std::int64_t first, MatrixView<float> out) const;
  // The same for rows anywhere in the tensor, in this order, some perhaps more than once.
  void read_rows(const std::string& name, std::span<const std::int32_t> which,
                 MatrixView<float> out) const;
  std::uint64_t bytes_read() const;  // as stored in the file, since open
  // Tells the kernel that a layer's pages are not needed for now.
  void drop_pages(const std::string& name_prefix) const;

 private:
  struct State;
  explicit Checkpoint(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace bitgrid
