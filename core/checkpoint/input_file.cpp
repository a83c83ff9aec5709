#include "core/checkpoint/input_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "kernels/error.hpp"

namespace bitgrid {
namespace {

// [offset, offset + count) widened to whole pages, as madvise wants it.
std::pair<std::uint64_t, std::uint64_t> whole_pages(std::uint64_t offset, std::uint64_t count) {
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const std::uint64_t first = offset / page * page;
  return {first, offset + count - first};
}

}  // namespace

InputFile::InputFile(const std::string& path) : path_(path) {
  // O_NONBLOCK: opening a pipe must not wait for its writer; it means nothing for a regular file.
  descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor_ < 0)
    throw InputError(fmt::format("{}: cannot open: {}", path, std::strerror(errno)));
  struct stat status = {};
  const bool known = ::fstat(descriptor_, &status) == 0;
  if (!known || !S_ISREG(status.st_mode)) {
    ::close(descriptor_);
    throw InputError(path + ": not a regular file");
  }
  size_ = static_cast<std::uint64_t>(status.st_size);
}

InputFile::InputFile(InputFile&& o) noexcept { swap(o); }
InputFile& InputFile::operator=(InputFile&& o) noexcept {
  InputFile gone(std::move(*this));
  swap(o);
  return *this;
}
InputFile::~InputFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
  if (descriptor_ >= 0) ::close(descriptor_);
}
void InputFile::swap(InputFile& o) noexcept {
  std::swap(path_, o.path_);
  std::swap(descriptor_, o.descriptor_);
  std::swap(size_, o.size_);
  std::swap(data_, o.data_);
}

std::string InputFile::read(std::uint64_t offset, std::uint64_t count) const {
  BITGRID_ASSERT(offset <= size_ && count <= size_ - offset);
  std::string text(count, '\0');
  std::uint64_t done = 0;
  while (done < count) {
    const auto n =
        ::pread(descriptor_, text.data() + done, count - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw RunError(fmt::format("{}: cannot read: {}", path_, std::strerror(errno)));
    if (n == 0)
      throw RunError(
          fmt::format("{}: the file became shorter than {} bytes", path_, offset + count));
    done += static_cast<std::uint64_t>(n);
  }
  return text;
}

void InputFile::map() {
  if (data_ != nullptr || size_ == 0) return;
  void* address = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, descriptor_, 0);
  if (address == MAP_FAILED)
    throw RunError(fmt::format("{}: cannot map {} bytes: {}", path_, size_, std::strerror(errno)));
  data_ = static_cast<const std::byte*>(address);
  check_size();
}

void InputFile::check_size() const {
  struct stat status = {};
  if (::fstat(descriptor_, &status) != 0)
    throw RunError(fmt::format("{}: cannot read its size: {}", path_, std::strerror(errno)));
  if (static_cast<std::uint64_t>(status.st_size) != size_)
    throw RunError(fmt::format("{}: the file changed while in use: {} bytes, was {}", path_,
                               status.st_size, size_));
}

void InputFile::will_need(std::uint64_t offset, std::uint64_t count) const {
  if (data_ == nullptr || count == 0) return;
  const auto [first, bytes] = whole_pages(offset, count);
  ::madvise(const_cast<std::byte*>(data_) + first, bytes, MADV_WILLNEED);
}

void InputFile::drop(std::uint64_t offset, std::uint64_t count) const {
  if (data_ == nullptr || count == 0) return;
  // Pages that reach into a neighbour go too: nothing was written to them, they come back on
  // demand.
  const auto [first, bytes] = whole_pages(offset, count);
  ::madvise(const_cast<std::byte*>(data_) + first, bytes, MADV_DONTNEED);
  ::posix_fadvise(descriptor_, static_cast<off_t>(first), static_cast<off_t>(bytes),
                  POSIX_FADV_DONTNEED);
}

std::string read_small_file(const std::string& path, std::uint64_t bytes_max) {
  const InputFile file(path);
  if (file.size() > bytes_max)
    throw InputError(
        fmt::format("{}: {} bytes, more than the {} allowed", path, file.size(), bytes_max));
  return file.read(0, file.size());
}

}  // namespace bitgrid
