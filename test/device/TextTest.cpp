// The device library as the compiler carries it.
#include "runtime/device/DeviceText.h"

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <regex>
#include <sstream>
#include <string>

namespace {

std::map<std::string, std::string> table() {
  std::map<std::string, std::string> files;
  for (const lathe::DeviceFile &file : lathe::deviceText())
    files[file.name] = file.text;
  return files;
}

} // namespace

TEST(DeviceText, IsTheFilesWordForWord) {
  for (const auto &[name, text] : table()) {
    std::ifstream file(std::string(DEVICE_INCLUDE) + "/" + name);
    ASSERT_TRUE(file) << name;
    std::stringstream read;
    read << file.rdbuf();
    EXPECT_EQ(read.str(), text) << name;
  }
}

TEST(DeviceText, HoldsWhatItIncludes) {
  const auto files = table();
  ASSERT_TRUE(files.contains("lathe/kernel.cuh"));
  ASSERT_TRUE(files.contains("lathe/host/entry.h"));
  const std::regex include("#include ([\"<])([^\">]+)[\">]");
  for (const auto &[name, text] : files)
    for (std::sregex_iterator at(text.begin(), text.end(), include), end; at != end; ++at) {
      if ((*at)[1] == "\"")
        EXPECT_TRUE(files.contains((*at)[2])) << name << " includes " << (*at)[2];
      else // what goes to NVRTC has no other header
        EXPECT_TRUE(name.starts_with("lathe/host/")) << name << " includes " << (*at)[2];
    }
}
