// Streaming: no character is split, no part of a stop string is shown, and the whole equals decode.

#include "Fixtures.h"

#include <random>

using namespace lathe;
using namespace lathe::test;
using Ids = std::vector<int32_t>;

namespace {

/// gpt2's ids of the single bytes of a text: the worst way to cut it.
Ids bytesOf(const Tokenizer &tokenizer, std::string_view text) {
  Ids ids;
  for (char c : text)
    for (int32_t id = 0; id < tokenizer.size(); ++id)
      if (tokenizer.piece(id) == std::string_view(&c, 1))
        ids.push_back(id), id = tokenizer.size();
  return ids;
}

struct Streamed {
  std::vector<std::string> shown;
  std::string all;
  bool stopped;
};

Streamed stream(const std::shared_ptr<const Tokenizer> &tokenizer, const Ids &ids, std::vector<std::string> stops) {
  TextStream text(tokenizer, std::move(stops));
  Streamed result;
  for (int32_t id : ids)
    result.all += result.shown.emplace_back(text.push(id));
  result.all += result.shown.emplace_back(text.finish());
  result.stopped = text.stopped();
  return result;
}

} // namespace

TEST(TextStream, HoldsBackUnfinishedCharacters) {
  auto tokenizer = fixture("gpt2");
  Streamed result = stream(tokenizer, bytesOf(*tokenizer, "aä你😀"), {});
  EXPECT_EQ(result.shown, (std::vector<std::string>{"a", "", "ä", "", "", "你", "", "", "", "😀", ""}));
}

TEST(TextStream, IncompleteTailBecomesReplacement) {
  auto tokenizer = fixture("gpt2");
  Streamed result = stream(tokenizer, bytesOf(*tokenizer, "a\xF0\x9F"), {});
  EXPECT_EQ(result.shown, (std::vector<std::string>{"a", "", "", "\xEF\xBF\xBD"}));
  EXPECT_EQ(stream(tokenizer,
                   bytesOf(*tokenizer, "\xF0\x9F"
                                       "b\xFF"
                                       "c"),
                   {})
                .all,
            "\xEF\xBF\xBD"
            "b\xEF\xBF\xBD"
            "c");
}

TEST(TextStream, StopsAcrossTokens) {
  auto tokenizer = fixture("gpt2");
  Streamed result = stream(tokenizer, bytesOf(*tokenizer, "one\nUser: two"), {"\nUser:"});
  EXPECT_EQ(result.all, "one");
  EXPECT_TRUE(result.stopped);
  for (size_t index = 0; index < 3; ++index)
    EXPECT_EQ(result.shown[index].size(), 1u) << "what cannot become the stop is shown at once";
}

TEST(TextStream, PartOfAStopIsShownWhenItDoesNotCome) {
  auto tokenizer = fixture("gpt2");
  Streamed result = stream(tokenizer, bytesOf(*tokenizer, "aababx"), {"abab!"});
  EXPECT_EQ(result.shown, (std::vector<std::string>{"", "a", "", "", "", "ababx", ""}));
  EXPECT_FALSE(result.stopped);
  result = stream(tokenizer, bytesOf(*tokenizer, "xab"), {"abab"});
  EXPECT_EQ(result.shown, (std::vector<std::string>{"x", "", "", "ab"}));
}

TEST(TextStream, NothingComesBehindAStop) {
  auto tokenizer = fixture("gpt2");
  TextStream text(tokenizer, {"b"});
  std::string shown;
  for (int32_t id : bytesOf(*tokenizer, "abab"))
    shown += text.push(id);
  EXPECT_EQ(shown + text.finish(), "a");
  EXPECT_TRUE(text.stopped());
}

TEST(TextStream, EmptyStopIsNone) {
  auto tokenizer = fixture("gpt2");
  EXPECT_EQ(stream(tokenizer, bytesOf(*tokenizer, "ab"), {"", "z"}).all, "ab");
}

TEST(TextStream, StopOfManyByteCharacters) {
  auto tokenizer = fixture("gpt2");
  EXPECT_EQ(stream(tokenizer, bytesOf(*tokenizer, "ok。你好"), {"。你"}).all, "ok");
  EXPECT_EQ(stream(tokenizer, bytesOf(*tokenizer, "ok。再"), {"。你"}).all, "ok。再");
}

TEST(TextStream, SpecialTokensAreNotShown) {
  auto tokenizer = fixture("smollm");
  Ids ids = tokenizer->encode("a<|im_end|>b");
  EXPECT_EQ(stream(tokenizer, ids, {}).all, "ab");
}

// The cut does not depend on where tokens end: whole text, tokens and single bytes agree.
TEST(TextStream, CutDoesNotDependOnTokens) {
  auto tokenizer = fixture("gpt2");
  std::mt19937 random(7);
  auto word = [&](size_t most) {
    static const std::string letters[] = {"a", "b", "ä", "你", " "};
    std::string text;
    for (size_t left = 1 + random() % most; left > 0; --left)
      text += letters[random() % 5];
    return text;
  };
  for (int round = 0; round < 500; ++round) {
    std::string text = word(30);
    std::vector<std::string> stops = {word(4), word(3), word(5)};
    size_t end = text.npos, begin = text.npos;
    for (const std::string &stop : stops)
      if (size_t at = text.find(stop);
          at != text.npos && (at + stop.size() < end || (at + stop.size() == end && at < begin)))
        end = at + stop.size(), begin = at;
    std::string expected = text.substr(0, begin);
    for (const Ids &ids : {bytesOf(*tokenizer, text), tokenizer->encode(text)}) {
      Streamed result = stream(tokenizer, ids, stops);
      EXPECT_EQ(result.all, expected) << text;
      EXPECT_EQ(result.stopped, begin != text.npos) << text;
    }
  }
}
