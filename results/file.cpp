#include "results/file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <utility>

#include "kernels/error.hpp"
#include "kernels/sha256.hpp"

namespace bitgrid::results {
namespace {

namespace fs = std::filesystem;

// A file descriptor; closing it on the way out of an error has nobody to tell.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  bool close() { return ::close(std::exchange(fd_, -1)) == 0; }

 private:
  int fd_;
};

bool write_at(int fd, std::span<const std::byte> bytes, off_t offset) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd, bytes.data(), bytes.size(), offset);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      if (n == 0) errno = ENOSPC;
      return false;
    }
    bytes = bytes.subspan(static_cast<std::size_t>(n));
    offset += n;
  }
  return true;
}

[[noreturn]] void write_failed(const std::string& temporary, const std::string& file, int reason) {
  ::unlink(temporary.c_str());
  throw RunError(fmt::format("cannot write {}: {}", file, std::strerror(reason)));
}

std::string folder_of(const std::string& file) {
  const std::string folder = fs::path(file).parent_path().string();
  return folder.empty() ? "." : folder;
}

void rename_durably(const std::string& temporary, const std::string& file) {
  if (::rename(temporary.c_str(), file.c_str()) != 0) write_failed(temporary, file, errno);
  sync_directory(folder_of(file));
}

struct Opened {
  Descriptor fd;
  std::int64_t bytes;
  std::string block;
};

// Reads the user block; checks the size against it.
Opened open_and_size(const std::string& file) {
  Descriptor fd(
      ::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));  // a FIFO must not hold us up
  struct stat status {};
  if (!fd.valid() || ::fstat(fd.get(), &status) != 0)
    throw Error(fmt::format("{}: cannot open: {}", file, std::strerror(errno)));
  if (!S_ISREG(status.st_mode)) throw Error(file + ": is not a regular file");
  std::string block(kUserBlockBytes, '\0');
  const ssize_t n = ::pread(fd.get(), block.data(), block.size(), 0);
  if (n < 0) throw Error(fmt::format("{}: cannot read: {}", file, std::strerror(errno)));
  long long stated = 0;
  if (n < static_cast<ssize_t>(kUserBlockBytes) ||
      std::sscanf(block.c_str(), "bitgrid results\nsha256 %*64[0-9a-f]\nbytes %lld\n", &stated) !=
          1)
    throw DamagedFile(
        file +
        ": damaged or not a file of bitgrid: its first 512 bytes are not a user block of ours");
  const std::int64_t content = status.st_size - static_cast<std::int64_t>(kUserBlockBytes);
  if (content < stated)
    throw DamagedFile(
        fmt::format("{}: cut short: {} of {} bytes are there", file, content, stated));
  if (content > stated)
    throw DamagedFile(fmt::format("{}: damaged: {} bytes too long", file, content - stated));
  return {std::move(fd), content, block};
}

std::string content_sha256(int fd, const std::string& file) {
  Sha256 digest;
  std::vector<std::byte> buffer(1 << 20);
  for (off_t at = kUserBlockBytes;;) {
    const ssize_t n = ::pread(fd, buffer.data(), buffer.size(), at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw Error(fmt::format("{}: cannot read: {}", file, std::strerror(errno)));
    if (n == 0) return digest.hex();
    digest.update(std::span(buffer).first(static_cast<std::size_t>(n)));
    at += n;
  }
}

}  // namespace

std::string user_block(const std::string& sha256, std::int64_t content_bytes) {
  std::string block = fmt::format("bitgrid results\nsha256 {}\nbytes {}\n", sha256, content_bytes);
  block.resize(kUserBlockBytes, '\0');
  return block;
}

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "unknown";
  return name.data();
}

std::string temporary_name(const std::string& file) {
  return fmt::format("{}.tmp.{}.{}", file, host_name(), ::getpid());
}

bool is_results_file(const std::string& file) {
  try {
    open_and_size(file);
    return true;
  } catch (const Error&) {
    return false;
  }
}

bool may_have_been_results_file(const std::string& file) {
  constexpr std::string_view ours = "bitgrid results\n", hdf5 = "\x89HDF\r\n\x1a\n";
  const Descriptor fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  std::string bytes(kUserBlockBytes + hdf5.size(), '\0');
  const ssize_t n = fd.valid() ? ::pread(fd.get(), bytes.data(), bytes.size(), 0) : -1;
  if (n < 0) return false;
  bytes.resize(static_cast<std::size_t>(n));
  if (bytes.starts_with(hdf5)) return false;  // HDF5, but not behind a user block
  std::size_t alike = 0;
  for (std::size_t i = 0; i < std::min(ours.size(), bytes.size()); ++i)
    alike += ours[i] == bytes[i];
  if (alike + 4 >= ours.size() || file.ends_with(".h5")) return true;
  return bytes.size() > kUserBlockBytes && bytes.substr(kUserBlockBytes) == hdf5;
}

void publish(const std::string& file, std::span<const std::byte> content) {
  const std::string temporary = temporary_name(file);
  const std::string block =
      user_block(sha256_hex(content), static_cast<std::int64_t>(content.size()));
  Descriptor fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!fd.valid()) write_failed(temporary, file, errno);
  if (!write_at(fd.get(), std::as_bytes(std::span(block)), 0) ||
      !write_at(fd.get(), content, kUserBlockBytes) || ::fsync(fd.get()) != 0)
    write_failed(temporary, file, errno);
  if (!fd.close()) write_failed(temporary, file, errno);
  rename_durably(temporary, file);
}

void publish_written(const std::string& temporary, const std::string& file) {
  Descriptor fd(::open(temporary.c_str(), O_RDWR | O_CLOEXEC));
  if (!fd.valid()) write_failed(temporary, file, errno);
  // First to the disk, then the digest: what cannot be read back must not get one.
  struct stat status {};
  if (::fsync(fd.get()) != 0 || ::fstat(fd.get(), &status) != 0)
    write_failed(temporary, file, errno);
  const std::string block = user_block(content_sha256(fd.get(), temporary),
                                       status.st_size - static_cast<std::int64_t>(kUserBlockBytes));
  if (!write_at(fd.get(), std::as_bytes(std::span(block)), 0) || ::fsync(fd.get()) != 0)
    write_failed(temporary, file, errno);
  if (!fd.close()) write_failed(temporary, file, errno);
  rename_durably(temporary, file);
}

void reserve_space(int fd, std::int64_t bytes, const std::string& file) {
  if (::fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, bytes) == 0) return;
  int reason = errno;
  struct statvfs free {};
  if (reason == EOPNOTSUPP && ::fstatvfs(fd, &free) == 0) {
    const double available =
        static_cast<double>(free.f_bavail) * static_cast<double>(free.f_frsize);
    if (available >= static_cast<double>(bytes)) return;
    reason = ENOSPC;
  }
  throw RunError(fmt::format("cannot write {}: {}", file, std::strerror(reason)));
}

void verify_size(const std::string& file) { open_and_size(file); }

void verify_file(const std::string& file) {
  const Opened opened = open_and_size(file);
  if (user_block(content_sha256(opened.fd.get(), file), opened.bytes) != opened.block)
    throw DamagedFile(file +
                      ": damaged: its content does not have the SHA-256 that it was written with");
}

void sync_directory(const std::string& directory) {
  const Descriptor fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // Some file systems cannot fsync a folder and say EINVAL; there is nothing better to do there.
  if (!fd.valid() || (::fsync(fd.get()) != 0 && errno != EINVAL))
    throw RunError(fmt::format("cannot write {}: {}", directory, std::strerror(errno)));
}

void make_directories(const std::string& directory) {
  const fs::path path(directory);
  std::error_code ignored;
  if (fs::is_directory(path, ignored)) return;
  const std::string parent = folder_of(directory);
  if (parent != directory) make_directories(parent);
  if (::mkdir(directory.c_str(), 0777) != 0 && errno != EEXIST)
    throw RunError(fmt::format("cannot make {}: {}", directory, std::strerror(errno)));
  if (!fs::is_directory(path, ignored)) throw RunError(directory + " is not a directory");
  sync_directory(parent);
}

void remove_file(const std::string& file) {
  if (::unlink(file.c_str()) != 0 && errno != ENOENT)
    throw RunError(fmt::format("cannot remove {}: {}", file, std::strerror(errno)));
}

namespace {

std::string holder_in(int fd) {
  std::array<char, 512> text{};
  const ssize_t n = ::pread(fd, text.data(), text.size() - 1, 0);
  return n > 0 ? std::string(text.data(), strcspn(text.data(), "\n"))
               : "which has not said who it is";
}

// Whoever asks for the holder (lock_holder) has the lock itself for a moment, so a refusal is
// believed only when it lasts.
bool lock_patiently(int fd) {
  for (int attempt = 0;; ++attempt) {
    if (::flock(fd, LOCK_EX | LOCK_NB) == 0) return true;
    if (errno != EWOULDBLOCK || attempt == 10) return false;
    ::usleep(10'000);
  }
}

}  // namespace

std::optional<std::string> lock_holder(const std::string& file) {
  const Descriptor fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.valid()) return errno == ENOENT ? std::optional<std::string>("") : std::nullopt;
  if (::flock(fd.get(), LOCK_SH | LOCK_NB) == 0) return "";  // closing frees it
  return errno == EWOULDBLOCK ? std::optional<std::string>(holder_in(fd.get())) : std::nullopt;
}

Lock::Lock(const std::string& file) {
  fd_ = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd_ < 0)
    throw InputError(fmt::format("cannot write in {}: {}", folder_of(file), std::strerror(errno)));
  if (!lock_patiently(fd_)) {
    const int reason = errno;
    const std::string holder = holder_in(fd_);
    ::close(fd_);
    if (reason == EWOULDBLOCK)
      throw InputError(
          fmt::format("{} is being written by another sweep ({})", folder_of(file), holder));
    throw InputError(fmt::format("cannot lock {}: {}; file locks (flock) are needed there", file,
                                 std::strerror(reason)));
  }
  const std::string text = fmt::format("pid {} on {}\n", ::getpid(), host_name());
  if (::ftruncate(fd_, 0) != 0 || !write_at(fd_, std::as_bytes(std::span(text)), 0)) {
    const int reason = errno;
    ::close(fd_);
    throw InputError(fmt::format("cannot write in {}: {}", folder_of(file), std::strerror(reason)));
  }
}

Lock::~Lock() { ::close(fd_); }

}  // namespace bitgrid::results
