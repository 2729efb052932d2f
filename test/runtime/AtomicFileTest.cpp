#include "runtime/support/AtomicFile.h"

#include "runtime/support/MappedFile.h"
#include "test/runtime/ToyModel.h"

#include <csignal>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace lathe {
namespace {

namespace fs = std::filesystem;

class AtomicFileTest : public testing::Test {
protected:
  AtomicFileTest() : folder(toy::temporaryPath("atomic")), path(folder + "/out.bin") {
    fs::remove_all(folder);
    fs::create_directories(folder);
  }
  ~AtomicFileTest() override { fs::remove_all(folder); }
  std::string read() { return std::string((*MappedFile::open(path))->text()); }
  size_t entries() { return std::distance(fs::directory_iterator(folder), fs::directory_iterator()); }
  const std::string folder, path;
};

TEST_F(AtomicFileTest, AppearsWhenCommitted) {
  std::ofstream(path) << "old";
  fs::permissions(path, fs::perms(0640));
  {
    auto file = AtomicFile::create(path);
    ASSERT_TRUE(file && (*file)->write("new ") && (*file)->write("text") && (*file)->writeAt(0, "N"));
    EXPECT_EQ(read(), "old");
    ASSERT_TRUE((*file)->commit());
  }
  EXPECT_EQ(read(), "New text");
  EXPECT_EQ(entries(), 1u);
  EXPECT_EQ(fs::status(path).permissions(), fs::perms(0640));
}

TEST_F(AtomicFileTest, LeavesNothingWhenDropped) {
  {
    ASSERT_TRUE((*AtomicFile::create(path))->write("half"));
  }
  EXPECT_EQ(entries(), 0u);
}

TEST_F(AtomicFileTest, FollowsLinksAndRefusesOthers) {
  std::ofstream(folder + "/real") << "old";
  fs::create_symlink("real", path);
  {
    auto file = AtomicFile::create(path);
    ASSERT_TRUE(file && (*file)->write("new") && (*file)->commit());
  }
  EXPECT_TRUE(fs::is_symlink(path));
  EXPECT_EQ(read(), "new");
  EXPECT_EQ(AtomicFile::create("/dev/null").error().code, ExitCode::badInput);
  EXPECT_EQ(AtomicFile::create(folder).error().code, ExitCode::badInput);
  auto absent = AtomicFile::create(folder + "/no such folder/x");
  ASSERT_FALSE(absent);
  EXPECT_NE(absent.error().message.find("no such folder/x"), std::string::npos);
}

// A killed writer leaves a temporary file; the next one for the same name removes it, but not that of a living one.
TEST_F(AtomicFileTest, RemovesWhatKilledWritersLeft) {
  pid_t child = fork();
  if (child == 0) {
    auto file = AtomicFile::create(path);
    if (file)
      (void)(*file)->write("half");
    raise(SIGKILL);
  }
  int status;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(entries(), 1u);
  std::ofstream(folder + "/.out.bin.note.partial") << "not ours";
  auto living = AtomicFile::create(path);
  ASSERT_TRUE(living);
  EXPECT_EQ(entries(), 2u) << "the dead one's is gone, the living one's and the stranger's are there";
  auto second = AtomicFile::create(path);
  ASSERT_TRUE(second);
  EXPECT_EQ(entries(), 3u);
  ASSERT_TRUE((*living)->write("1") && (*living)->commit());
}

// In a child, since the limit holds for the whole process.
TEST_F(AtomicFileTest, FileSizeLimitIsAResourceError) {
  pid_t child = fork();
  if (child == 0) {
    signal(SIGXFSZ, SIG_IGN);
    rlimit limit{1 << 16, 1 << 16};
    setrlimit(RLIMIT_FSIZE, &limit);
    auto file = AtomicFile::create(path);
    bool fine = file && (*file)->reserve(1 << 16) && !(*file)->reserve((1 << 16) + 1) &&
                (*file)->reserve((1 << 16) + 1).error().code == ExitCode::resource;
    fine = fine && (*file)->write(std::string(1 << 17, 'x')).error().code == ExitCode::resource;
    file->reset();
    _exit(fine ? 0 : 1);
  }
  int status;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(entries(), 0u);
}

} // namespace
} // namespace lathe
