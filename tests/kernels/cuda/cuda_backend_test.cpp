#include "kernels/cuda_backend.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>
#include <string>

#include "kernels/error.hpp"

namespace bitgrid {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

const std::string kLibraries = BITGRID_TEST_LIBRARIES;
const std::string kProbe = std::string(BITGRID_BIN_DIR) + "/cuda_probe";

// What cuda_probe prints with these variables in front of it.
std::map<std::string, std::string> probe(const std::string& environment,
                                         const std::string& program = kProbe) {
  const std::string command = environment + " '" + program + "'";
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "r"), pclose);
  std::string text;
  std::array<char, 4096> piece;
  while (std::fgets(piece.data(), piece.size(), pipe.get()) != nullptr) text += piece.data();
  std::map<std::string, std::string> seen;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const auto blank = line.find(' ');
    seen[line.substr(0, blank)] = line.substr(blank + 1);
  }
  EXPECT_EQ(seen.size(), 7u) << command << " printed:\n" << text;
  return seen;
}

// Nothing is said of the choice where there is no GPU to be missed.
std::string auto_line() {
  return std::filesystem::exists("/dev/nvidiactl")
             ? "cpu device 'auto': there is a GPU, but this version computes on the CPU."
             : "cpu ";
}

// All that a process on a machine without usable CUDA says, given the reason.
void expect_unavailable(std::map<std::string, std::string> seen, const std::string& reason) {
  EXPECT_EQ(seen["available"], "0");
  EXPECT_EQ(seen["devices"], "0");
  EXPECT_THAT(seen["reason"], HasSubstr(reason));
  EXPECT_EQ(seen["operation"], "CUDA backend not loaded: operation 'gram': " + seen["reason"]);
  EXPECT_EQ(seen["place"], "device 'cuda': " + seen["reason"] + "; use 'cpu' or 'auto'");
  EXPECT_EQ(seen["auto"], auto_line());
}

TEST(CudaBackend, NamedLibraryIsMissing) {
  expect_unavailable(probe("BITGRID_CUDA_LIBRARY=/nowhere/libbitgrid_cuda.so"),
                     "/nowhere/libbitgrid_cuda.so: no such file");
}

TEST(CudaBackend, LibraryIsNotInstalled) {
  // A copy of the program in a folder of its own: nothing beside it, nothing in ../lib.
  const std::string dir = testing::TempDir() + "cuda_backend_alone/bin";
  std::filesystem::create_directories(dir);
  std::filesystem::copy_file(kProbe, dir + "/probe",
                             std::filesystem::copy_options::overwrite_existing);
  expect_unavailable(probe("env -u BITGRID_CUDA_LIBRARY", dir + "/probe"),
                     "libbitgrid_cuda.so is not installed");
  std::filesystem::remove_all(testing::TempDir() + "cuda_backend_alone");
}

TEST(CudaBackend, FoundBesideTheProgramAndInLib) {
  const std::string top = testing::TempDir() + "cuda_backend_beside";
  for (const std::string folder : {"/bin", "/lib"}) {
    std::filesystem::remove_all(top);
    std::filesystem::create_directories(top + "/bin");
    std::filesystem::create_directories(top + "/lib");
    std::filesystem::copy_file(kProbe, top + "/bin/probe");
    std::filesystem::copy_file(kLibraries + "/cuda_pretended.so",
                               top + folder + "/libbitgrid_cuda.so");
    auto seen = probe("env -u BITGRID_CUDA_LIBRARY BITGRID_TEST_DEVICES=3", top + "/bin/probe");
    EXPECT_EQ(seen["available"], "1") << folder;
    EXPECT_EQ(seen["devices"], "3") << folder;
  }
  std::filesystem::remove_all(top);
}

TEST(CudaBackend, FileIsNoLibrary) {
  const std::string file = testing::TempDir() + "not_a_library.so";
  std::ofstream(file) << "text";
  expect_unavailable(probe("BITGRID_CUDA_LIBRARY=" + file), "not_a_library.so: file too short");
  std::filesystem::remove(file);
}

TEST(CudaBackend, LibraryLacksTheSymbol) {
  expect_unavailable(probe("BITGRID_CUDA_LIBRARY=" + kLibraries + "/cuda_without_symbol.so"),
                     "cuda_without_symbol.so has no symbol bitgrid_cuda_table");
}

TEST(CudaBackend, LibraryIsOfAnotherVersion) {
  expect_unavailable(probe("BITGRID_CUDA_LIBRARY=" + kLibraries + "/cuda_other_version.so"),
                     "was built for another version of bitgrid (table version 1 is needed)");
}

TEST(CudaBackend, NoDriver) {
  const std::string named = "BITGRID_CUDA_LIBRARY=" + kLibraries + "/cuda_pretended.so ";
  auto seen = probe(named + "BITGRID_TEST_DEVICES=none");
  expect_unavailable(seen, "cudaErrorInsufficientDriver");
  EXPECT_EQ(seen["versions"], "CUDA 99");
}

TEST(CudaBackend, NoDevice) {
  const std::string named = "BITGRID_CUDA_LIBRARY=" + kLibraries + "/cuda_pretended.so ";
  expect_unavailable(probe(named + "BITGRID_TEST_DEVICES=0"), "no CUDA device");
}

TEST(CudaBackend, AutoTakesTheCpuEvenWithDevices) {
  const std::string named = "BITGRID_CUDA_LIBRARY=" + kLibraries + "/cuda_pretended.so ";
  auto seen = probe(named + "BITGRID_TEST_DEVICES=2");
  EXPECT_EQ(seen["available"], "1");
  EXPECT_EQ(seen["devices"], "2");
  EXPECT_EQ(seen["reason"], "");
  EXPECT_EQ(seen["auto"], auto_line());
  EXPECT_THAT(seen["place"], HasSubstr("computes sweeps on the CPU only"));
  EXPECT_THAT(seen["operation"], StartsWith("CUDA backend not loaded: operation 'gram': "));
}

TEST(CudaBackend, NamesOfDevices) {
  EXPECT_EQ(device_from_name("auto"), std::nullopt);
  EXPECT_EQ(device_from_name("cpu"), Device::cpu);
  EXPECT_EQ(device_from_name("cuda"), Device::cuda);
  EXPECT_THROW(device_from_name("gpu"), InputError);
  EXPECT_THROW(device_from_name(""), InputError);
}

TEST(CudaBackend, CpuNeedsNoNote) {
  const PlaceChoice choice = make_place(Device::cpu, 2);
  EXPECT_EQ(choice.place.device, Device::cpu);
  EXPECT_EQ(place_threads(choice.place), 2);
  EXPECT_EQ(choice.note, "");
}

// The library of this build: it opens, knows its versions, and finds devices or says why it does
// not.
TEST(CudaBackend, BuiltLibraryLoads) {
#ifndef BITGRID_TEST_BUILT_CUDA
  GTEST_SKIP() << "this build has no CUDA backend (preset cuda builds it)";
#endif
  auto seen = probe("env -u BITGRID_CUDA_LIBRARY");
  EXPECT_THAT(seen["versions"], StartsWith("CUDA "));
  EXPECT_THAT(seen["versions"], HasSubstr("NCCL "));
  if (seen["available"] == "1") {
    EXPECT_NE(seen["devices"], "0");
  } else {
    EXPECT_THAT(seen["reason"], HasSubstr("kernels/cuda/runtime.cpp:"));
    EXPECT_THAT(seen["reason"], HasSubstr("cudaError"));
  }
}

}  // namespace
}  // namespace bitgrid
