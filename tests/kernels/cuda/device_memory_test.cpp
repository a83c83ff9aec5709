#include "kernels/device_memory.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "kernels/cuda/axpy.hpp"
#include "kernels/cuda_backend.hpp"
#include "kernels/error.hpp"

namespace bitgrid {
namespace {

// Runs only where there is a GPU.
class DeviceMemoryTest : public testing::Test {
 protected:
  void SetUp() override {
    if (!cuda_status().available) GTEST_SKIP() << "needs a CUDA device: " << cuda_status().reason;
  }
};

std::int64_t bytes_of(const std::vector<float>& v) {
  return static_cast<std::int64_t>(v.size() * sizeof(float));
}

// n numbers that are exact in fp32 and differ from their neighbours.
std::vector<float> ramp(std::int64_t n, float first) {
  std::vector<float> v(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < v.size(); ++i) v[i] = first + 0.5f * static_cast<float>(i % 1001);
  return v;
}

TEST_F(DeviceMemoryTest, CopiesThereAndBack) {
  const cuda::Stream stream = cuda::make_stream();
  const Place place = cuda::place_on(stream);
  const std::vector<float> sent = ramp(1'000'003, -7.0f);
  std::vector<float> received(sent.size(), 0.0f);
  const cuda::DeviceMemory memory = cuda::make_device_memory(bytes_of(sent));
  cuda::copy_to_device(place, memory.get(), sent.data(), bytes_of(sent));
  cuda::copy_to_host(place, received.data(), memory.get(), bytes_of(sent));
  cuda::synchronize(place);
  EXPECT_EQ(received, sent);
}

TEST_F(DeviceMemoryTest, AxpyIsExact) {
  const cuda::Stream stream = cuda::make_stream();
  const Place place = cuda::place_on(stream);
  for (const std::int64_t n : {0, 1, 3, 129, 257, 3'000'001}) {
    const std::vector<float> x = ramp(n, 1.0f);
    std::vector<float> y = ramp(n, -3.0f);
    const cuda::DeviceMemory device_x = cuda::make_device_memory(bytes_of(x));
    const cuda::DeviceMemory device_y = cuda::make_device_memory(bytes_of(y));
    cuda::copy_to_device(place, device_x.get(), x.data(), bytes_of(x));
    cuda::copy_to_device(place, device_y.get(), y.data(), bytes_of(y));
    cuda::axpy(place, n, 0.1f, static_cast<const float*>(device_x.get()),
               static_cast<float*>(device_y.get()));
    std::vector<float> result(y.size());
    cuda::copy_to_host(place, result.data(), device_y.get(), bytes_of(y));
    cuda::synchronize(place);
    for (std::size_t i = 0; i < y.size(); ++i) y[i] = std::fma(0.1f, x[i], y[i]);
    EXPECT_EQ(result, y) << n;
  }
}

TEST_F(DeviceMemoryTest, OutOfMemoryIsAnErrorThatPasses) {
  try {
    cuda::make_device_memory(std::int64_t{1} << 50);
    FAIL() << "a petabyte was given";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("cudaErrorMemoryAllocation"), std::string::npos)
        << error.what();
  }
  EXPECT_TRUE(cuda::make_device_memory(4));
}

// What the kernel computes per element, on the host: one rounding, where a product and a sum would
// round twice.
TEST(Axpy, ElementRoundsOnce) {
  EXPECT_EQ(cuda::axpy_element(2.0f, 3.0f, 4.0f), 10.0f);
  const float a =
      1.0f + 0x1p-12f;  // a² = 1 + 2^-11 + 2^-24: the last term is lost if rounded before the sum
  EXPECT_EQ(cuda::axpy_element(a, a, -1.0f), 0x1p-11f + 0x1p-24f);
}

TEST(DeviceMemory, SaysWhyThereIsNone) {
  if (cuda_status().available) GTEST_SKIP() << "there is a CUDA device";
  for (const auto& call : {+[] { cuda::make_stream(); }, +[] { cuda::make_device_memory(8); },
                           +[] { cuda::synchronize(Place{}); }}) {
    try {
      call();
      FAIL() << "nothing was thrown";
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(cuda_status().reason), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace bitgrid
