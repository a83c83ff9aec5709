#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kernels/error.hpp"

namespace bitgrid::results {

// A file that is not, or not any more, what was written: damaged, cut short, in another's place. It
// counts as missing: a sweep makes it again. What cannot be read for another reason is an Error.
class DamagedFile : public Error {
 public:
  using Error::Error;
};

// Every file of ours starts with a user block, which HDF5 skips: three lines of text with the
// SHA-256 and the size of all that follows, zero bytes up to 512. So any flipped or missing byte is
// found without asking HDF5, which should not be handed damaged files, and `tail -c +513 FILE |
// sha256sum` is a check without bitgrid.
constexpr std::size_t kUserBlockBytes = 512;
std::string user_block(const std::string& sha256, std::int64_t content_bytes);

// Whether file is one of ours, from its first bytes; false for what cannot be read.
bool is_results_file(const std::string& file);
// Whether a file that is not sound may have been one of ours: its first bytes look like it, or,
// where they tell nothing, its name.
bool may_have_been_results_file(const std::string& file);

// Writes user block and content under a temporary name, fsyncs, renames, fsyncs the folder.
// RunError "cannot write FILE: reason"; the temporary file is gone then.
void publish(const std::string& file, std::span<const std::byte> content);
// The same for a file that lies under its temporary name, complete but for its user block.
void publish_written(const std::string& temporary, const std::string& file);
// Takes disk space for a file that is being written, without changing its size. RunError "cannot
// write FILE: reason". File systems that cannot promise space are asked how much is free.
void reserve_space(int fd, std::int64_t bytes, const std::string& file);
// "NAME.tmp.<host>.<pid>"
std::string temporary_name(const std::string& file);

// Throws DamagedFile unless user block and content fit together: "FILE: damaged: …", "FILE: cut
// short: …".
void verify_file(const std::string& file);
// The same without reading the content: finds files that are cut short or not ours.
void verify_size(const std::string& file);

// Makes a directory and those above it, durably. RunError if that fails.
void make_directories(const std::string& directory);
void sync_directory(const std::string& directory);
void remove_file(const std::string& file);  // no error if it is not there

std::string host_name();

// Who holds the lock of this file now: "pid 7 on n1"; "" if nobody does, nothing if that cannot be
// told.
std::optional<std::string> lock_holder(const std::string& file);

// An exclusive flock on a file that tells who holds it. Freed by the destructor, or by the death of
// the process.
class Lock {
 public:
  // InputError if the file cannot be made or another process holds the lock; says which.
  explicit Lock(const std::string& file);
  ~Lock();
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

 private:
  int fd_ = -1;
};

}  // namespace bitgrid::results
