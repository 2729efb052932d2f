// What the programs share (tools/support), as far as it cannot be seen from outside.
#include "tools/support/CommandLine.h"
#include "tools/support/HelpFormatter.h"

#include <CLI/Validators.hpp>
#include <gtest/gtest.h>
#include <new>
#include <stdexcept>

namespace lathe {
namespace {

/// An action's exit code and what it wrote to standard error.
std::pair<int, std::string> outcome(const Action &action) {
  testing::internal::CaptureStderr();
  int code = carryOut(action);
  return {code, testing::internal::GetCapturedStderr()};
}

TEST(CommandLineSupport, ExitCodesOfActions) {
  EXPECT_EQ(outcome([]() -> Result<void> { return {}; }), (std::pair<int, std::string>(0, "")));
  EXPECT_EQ(outcome([]() -> Result<void> { return fail(ExitCode::checkFailed, "a.lathe: it differs"); }),
            (std::pair<int, std::string>(6, "lathe: error: a.lathe: it differs\n")));
  EXPECT_EQ(outcome([]() -> Result<void> { throw std::bad_alloc(); }),
            (std::pair<int, std::string>(5, "lathe: error: out of memory\n")));
  EXPECT_EQ(
      outcome([]() -> Result<void> { throw std::logic_error("a list is empty"); }),
      (std::pair<int, std::string>(7, "lathe: error: internal error: a list is empty; this is a defect of lathe\n")));
}

TEST(CommandLineSupport, FindsTheCommandBehindFlagsOfAll) {
  auto find = [](std::vector<std::string> words) {
    std::vector<char *> arguments;
    for (std::string &word : words)
      arguments.push_back(word.data());
    return findCommand(static_cast<int>(words.size()), arguments.data());
  };
  EXPECT_EQ(find({"lathe"}), 0);
  EXPECT_EQ(find({"lathe", "compile", "x"}), 1);
  EXPECT_EQ(find({"lathe", "--color", "never", "--config=x", "--print-config", "compile"}), 5);
  EXPECT_EQ(find({"lathe", "--config", "compile"}), 0);
}

TEST(CommandLineSupport, Sizes) {
  auto read = [](std::string text) {
    std::string wrong = sizes()(text);
    return wrong.empty() ? text : "error";
  };
  EXPECT_EQ(read("4096"), "4096");
  EXPECT_EQ(read("32k"), "32768");
  EXPECT_EQ(read("2M"), "2097152");
  EXPECT_EQ(read("1g"), "1073741824");
  EXPECT_EQ(read("-1k"), "-1024");
  for (const char *wrong : {"k", "1.5k", "1kb", "9999999999g", "one", "1 k"})
    EXPECT_EQ(read(wrong), "error") << wrong;
}

TEST(CommandLineSupport, Numbers) {
  for (const char *text : {"0", "0.5", "1e3"})
    EXPECT_EQ(nonNegative()(std::string(text)), "") << text;
  for (const char *text : {"-1", "nan", "inf", "x", "", "1x"})
    EXPECT_NE(nonNegative()(std::string(text)), "") << text;
  EXPECT_NE(positive()(std::string("0")), "");
  EXPECT_EQ(positive()(std::string("0.1")), "");
}

TEST(CommandLineSupport, WhatStandsForAValue) {
  CLI::App app;
  int64_t number = 0;
  std::vector<int64_t> numbers;
  double real = 0;
  std::string text;
  bool flag = false;
  EXPECT_EQ(valueOf(*app.add_option("--number", number)->transform(sizes())->check(CLI::Range(1, 9))), "N");
  EXPECT_EQ(valueOf(*app.add_option("--numbers", numbers)->delimiter(',')), "N,N,…");
  EXPECT_EQ(valueOf(*app.add_option("--real", real)->check(positive())), "X");
  EXPECT_EQ(valueOf(*app.add_option("--file", text)->type_name("FILE")), "FILE");
  EXPECT_EQ(valueOf(*app.add_flag("--flag", flag)), "");
  CLI::Option *choice = app.add_option("--choice", text)->check(CLI::IsMember({"a", "b"}));
  EXPECT_EQ(valueOf(*choice), "a|b");
  EXPECT_EQ(choicesOf(*choice), (std::vector<std::string>{"a", "b"}));
}

} // namespace
} // namespace lathe
