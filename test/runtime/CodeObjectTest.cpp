#include "runtime/CodeObject.h"

#include "runtime/support/MappedFile.h"

#include <gtest/gtest.h>

namespace lathe {
namespace {

TEST(CodeObject, TwoImagesAreTwoObjects) {
  auto file = MappedFile::open(TOY_KERNELS);
  ASSERT_TRUE(file);
  auto image = std::as_bytes(std::span((*file)->text()));
  auto first = CodeObject::load(image, "first.so"), second = CodeObject::load(image, "second.so");
  ASSERT_TRUE(first && second);
  auto one = (*first)->kernel("toy_embed"), other = (*second)->kernel("toy_embed");
  ASSERT_TRUE(one && other);
  EXPECT_NE(*one, *other) << "the second image was never loaded";
  EXPECT_FALSE((*first)->kernel("no_such_kernel"));
}

TEST(CodeObject, RefusesWhatIsNoCode) {
  std::string text(4096, 'x');
  auto loaded = CodeObject::load(std::as_bytes(std::span(text)), "kernels/x.so");
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().code, ExitCode::badInput);
  EXPECT_EQ(loaded.error().message, "kernels/x.so: expected a shared object for x86-64");
}

} // namespace
} // namespace lathe
