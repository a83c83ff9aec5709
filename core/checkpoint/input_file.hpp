#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace bitgrid {

// A regular file, open for reading. Its size is that of the descriptor when it was opened; a
// symbolic link to a regular file is one, a pipe, a device or a directory is not. Move-only.
class InputFile {
 public:
  explicit InputFile(
      const std::string& path);  // InputError if it is not there, not regular or not readable
  InputFile(InputFile&& o) noexcept;
  InputFile& operator=(InputFile&& o) noexcept;
  ~InputFile();

  const std::string& path() const { return path_; }
  std::uint64_t size() const { return size_; }

  // Bytes [offset, offset + count) by pread: no mapping, no signal. RunError if they cannot be
  // read.
  std::string read(std::uint64_t offset, std::uint64_t count) const;

  // Maps the whole file, read-only and private. A mapped page that is no longer in the file kills
  // the process by SIGBUS: call check_size() before touching the bytes. (A file cut between the
  // check and the touch still does; only a copy through read() could not.)
  void map();
  std::span<const std::byte> bytes() const { return {data_, data_ == nullptr ? 0 : size_}; }
  void check_size() const;  // RunError if the file's size has changed since it was opened

  // Hints to the kernel about mapped bytes; failures do not matter.
  void will_need(std::uint64_t offset, std::uint64_t count) const;
  void drop(std::uint64_t offset, std::uint64_t count) const;

 private:
  void swap(InputFile& o) noexcept;

  std::string path_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0;
  const std::byte* data_ = nullptr;
};

// The whole of a small file. InputError, also if it is larger than bytes_max.
std::string read_small_file(const std::string& path, std::uint64_t bytes_max);

}  // namespace bitgrid
