// Tables of schedules: what is found for a kernel, what is printed, and what is said about mistakes.
#include "compiler/Schedules.h"
#include "test/front/Fixtures.h"

#include <fmt/format.h>

using namespace lathe;
using namespace lathe::test;

namespace {

const std::string kDefault = R"([[schedule]]
tier = "avx512vnni"
kind = "linear"
quant = "int8"
rows = 4
columns = 32
unit_block = 16
)";
const std::string kMeasured = R"([[schedule]]
tier = "avx512vnni"
kind = "linear"
quant = "int8"
group = 32
n = 1536
k = 576
rows = 12
columns = 16
unit_block = 24
)";

std::string errorOf(const std::string &toml) { return messageOf(ScheduleTable::parse(toml, "folder/t.toml")); }
std::string errorAfter(std::string_view from, std::string_view to) { return errorOf(replaced(kMeasured, from, to)); }

ScheduleKey linear(int64_t group, int64_t n, int64_t k) { return {"avx512vnni", "linear", "int8", group, n, k}; }

} // namespace

// Every kernel of every tier finds a schedule without a user's table.
TEST(Schedules, BuiltInDefaultsAreComplete) {
  const ScheduleTable &table = ScheduleTable::builtIn();
  EXPECT_EQ(table.tiers(), (std::vector<std::string>{"amx", "avx512vnni", "avxvnni", "x86-64-v3"}));
  for (const std::string &tier : table.tiers())
    for (const ScheduleKey &key :
         {ScheduleKey{tier, "linear", "int8", 32, 1, 1}, ScheduleKey{tier, "linear", "int6", 16, 1, 1},
          ScheduleKey{tier, "linear", "int4", 64, 1, 1}, ScheduleKey{tier, "linear", "f32", 0, 1, 1},
          ScheduleKey{tier, "linear", "bf16", 0, 1, 1}, ScheduleKey{tier, "linear", "f16", 0, 1, 1},
          ScheduleKey{tier, "attention"}, ScheduleKey{tier, "embed"}}) {
      const ScheduleEntry *entry = table.find(key);
      ASSERT_TRUE(entry) << key.text();
      EXPECT_FALSE(entry->measured()) << key.text();
      EXPECT_TRUE(entry->origin.starts_with("cpu.toml:")) << entry->origin;
      EXPECT_GE(entry->columns, 16);
      EXPECT_EQ(entry->amxRows != 0, tier == "amx" && key.quant.starts_with("int")) << key.text();
    }
  EXPECT_FALSE(table.find({"avx512vnni", "linear", "int3", 32, 1, 1}));
  EXPECT_FALSE(table.find({"sse2", "embed"}));
}

// They are the files that are built in, and the files read back as a user's table.
TEST(Schedules, BuiltInAreTheFiles) {
  size_t layer = 1; // behind the user's
  for (const char *file : {"cuda.toml", "cpu.toml"}) {
    auto table = ScheduleTable::read(repositoryFile(std::string("configs/targets/") + file));
    ASSERT_OK(table);
    ASSERT_EQ(table->layers().size(), 3u);
    ASSERT_EQ(table->layers()[0].size(), table->layers()[layer].size());
    for (size_t i = 0; i < table->layers()[0].size(); ++i) {
      EXPECT_EQ(table->layers()[0][i].key, table->layers()[layer][i].key);
      EXPECT_EQ(table->layers()[0][i].origin, table->layers()[layer][i].origin);
    }
    ++layer;
  }
}

TEST(Schedules, CudaDefaultsAreComplete) {
  for (const ScheduleKey &key :
       {ScheduleKey{"cuda", "linear", "f32", 0, 1, 1}, ScheduleKey{"cuda", "linear", "bf16", 0, 1, 1},
        ScheduleKey{"cuda", "attention"}, ScheduleKey{"cuda", "embed"}}) {
    const ScheduleEntry *entry = ScheduleTable::builtIn().find(key);
    ASSERT_TRUE(entry) << key.text();
    EXPECT_TRUE(entry->origin.starts_with("cuda.toml:")) << entry->origin;
  }
}

TEST(Schedules, MeasuredThenDefaultThenBuiltIn) {
  auto table = ScheduleTable::parse(kMeasured + kDefault, "folder/t.toml");
  ASSERT_OK(table);
  EXPECT_EQ(table->find(linear(32, 1536, 576))->rows, 12);
  EXPECT_EQ(table->find(linear(32, 1536, 576))->origin, "t.toml:1");
  EXPECT_TRUE(table->find(linear(32, 1536, 576))->measured());
  for (const ScheduleKey &other : {linear(64, 1536, 576), linear(32, 1535, 576), linear(32, 1536, 577)}) {
    EXPECT_EQ(table->find(other)->rows, 4);
    EXPECT_EQ(table->find(other)->origin, "t.toml:11");
  }
  EXPECT_TRUE(table->find({"x86-64-v3", "linear", "int8", 32, 1536, 576})->origin.starts_with("cpu.toml:"));
  EXPECT_TRUE(table->find({"avx512vnni", "attention"})->origin.starts_with("cpu.toml:"));
}

TEST(Schedules, PrintsWhatItReads) {
  auto table = ScheduleTable::parse(kMeasured + kDefault, "t.toml");
  ASSERT_OK(table);
  const auto &entries = table->layers().front();
  EXPECT_EQ(printSchedule(entries[0], "") + printSchedule(entries[1], ""), kMeasured + kDefault);
  const std::string amx =
      "[[schedule]]\ntier = \"amx\"\nkind = \"linear\"\nquant = \"int4\"\nrows = 16\ncolumns = 16\namx_rows = 7\n"
      "unit_block = 32\n";
  EXPECT_EQ(printSchedule(ScheduleTable::parse(amx, "t.toml")->layers().front()[0], ""), amx);
  EXPECT_EQ(printSchedule(entries[1], "today\nhere"), "# today\n# here\n" + kDefault);
  std::string attention = "[[schedule]]\ntier = \"x86-64-v3\"\nkind = \"attention\"\nrows = 1\ncolumns = 16\n";
  EXPECT_EQ(printSchedule(ScheduleTable::parse(attention, "t.toml")->layers().front()[0], ""), attention);
}

// A library is named with the rows from which it multiplies, and prints as it reads.
TEST(Schedules, Library) {
  std::string text = replaced(kMeasured, "group = 32", "library = \"onednn\"\ngroup = 32") + "library_rows = 16\n";
  auto table = ScheduleTable::parse(text, "t.toml");
  ASSERT_OK(table);
  const ScheduleEntry &entry = *table->find(linear(32, 1536, 576));
  EXPECT_EQ(entry.library, "onednn");
  EXPECT_EQ(entry.libraryRows, 16);
  EXPECT_EQ(entry.tile(), "12 x 16 of 24, onednn from 16 rows");
  EXPECT_EQ(printSchedule(entry, ""), text);
  EXPECT_EQ(table->find(linear(64, 1, 1))->tile(), "8 x 32 of 48");

  EXPECT_EQ(errorOf(replaced(text, "onednn", "onedn")),
            "folder/t.toml:5:11: library: unknown value \"onedn\"; did you mean 'onednn'? known: onednn");
  EXPECT_EQ(errorOf(replaced(text, "library_rows = 16\n", "")),
            "folder/t.toml:1:1: expected library and library_rows together, or neither");
  EXPECT_EQ(errorOf(replaced(text, "library = \"onednn\"\n", "")),
            "folder/t.toml:1:1: expected library and library_rows together, or neither");
  EXPECT_EQ(errorOf(replaced(text, "library_rows = 16", "library_rows = 25")),
            "folder/t.toml:12:16: library_rows: expected at most unit_block = 24, found 25");
  EXPECT_EQ(errorOf(replaced(text, "library_rows = 16", "library_rows = 1")),
            "folder/t.toml:12:16: library_rows: expected an integer from 2 to 4096, found the integer 1");
  EXPECT_EQ(
      errorOf(replaced(text, "int8", "int4")),
      "folder/t.toml:5:11: library: onednn multiplies weights of f32, bf16, f16, int8 only, found quant \"int4\"");
}

TEST(Schedules, ManyRowsOnAGpuHaveEntriesOfTheirOwn) {
  const std::string text = "[[schedule]]\ntier = \"cuda\"\nkind = \"gemm\"\nquant = \"bf16\"\nleast_rows = 97\nrows = "
                           "128\ncolumns = 64\ndepth = 64\n";
  auto table = ScheduleTable::parse(text, "t.toml");
  ASSERT_OK(table);
  const ScheduleEntry &entry = *table->find({.tier = "cuda", .kind = "gemm", .quant = "bf16", .n = 1024, .k = 2048});
  EXPECT_EQ(entry.tile(), "128 x 64 by 64, from 97 rows");
  EXPECT_EQ(printSchedule(entry, ""), text);
  EXPECT_EQ(table->find({.tier = "cuda", .kind = "gemm", .quant = "int8", .group = 32, .n = 1024, .k = 2048})->rows,
            64);
  EXPECT_EQ(table->find({.tier = "cuda", .kind = "gemm", .quant = "f32", .n = 1024, .k = 2048}), nullptr);
  EXPECT_EQ(errorOf(replaced(text, "bf16", "f32")),
            "folder/t.toml:4:9: quant: unknown value \"f32\"; known: bf16, int8");
  EXPECT_EQ(errorOf(replaced(text, "\"cuda\"", "\"x86-64-v3\"")),
            "folder/t.toml:2:8: tier: expected cuda for kind gemm, found \"x86-64-v3\"");
  EXPECT_EQ(errorOf(replaced(text, "rows = 128", "rows = 12")),
            "folder/t.toml:6:8: rows: expected a multiple of 8 from 8 to 256, found the integer 12");
  EXPECT_EQ(errorOf(replaced(text, "columns = 64", "columns = 256")),
            "folder/t.toml:6:8: rows: 128 rows by 256 columns and two stages of 64 columns take more than 92160 bytes "
            "of shared memory");
}

TEST(Schedules, EmptyTableIsTheBuiltInOne) {
  for (const char *text : {"", "# nothing\n", "schedule = []\n"}) {
    auto table = ScheduleTable::parse(text, "t.toml");
    ASSERT_OK(table);
    EXPECT_EQ(table->find({"avx512vnni", "embed"})->unitBlock, 16);
  }
}

TEST(Schedules, Mistakes) {
  EXPECT_TRUE(errorOf("x = = 1").starts_with("folder/t.toml:1:5: not TOML: ")) << errorOf("x = = 1");
  EXPECT_EQ(errorOf("[[schedules]]\n"),
            "folder/t.toml:1:3: unknown key 'schedules'; a table of schedules has [[schedule]] entries only");
  EXPECT_EQ(errorOf("schedule = 3\n"),
            "folder/t.toml:1:12: schedule: expected [[schedule]] entries, found the integer 3");
  EXPECT_EQ(errorOf("schedule = [3]\n"), "folder/t.toml:1:13: schedule: expected a table, found the integer 3");
  EXPECT_EQ(errorAfter("avx512vnni", "avx512vni"), "folder/t.toml:2:8: tier: unknown value \"avx512vni\"; did you mean "
                                                   "'avx512vnni'? known: amx, avx512vnni, avxvnni, x86-64-v3, cuda");
  EXPECT_EQ(
      errorAfter("tier = \"avx512vnni\"", "tier = 512"),
      "folder/t.toml:2:8: tier: expected one of amx, avx512vnni, avxvnni, x86-64-v3, cuda, found the integer 512");
  EXPECT_EQ(errorAfter("kind = \"linear\"\n", ""),
            "folder/t.toml:1:1: missing key 'kind': expected one of linear, gemm, attention, embed");
  EXPECT_EQ(errorAfter("\"linear\"", "\"conv\""),
            "folder/t.toml:3:8: kind: unknown value \"conv\"; known: linear, gemm, attention, embed");
  EXPECT_EQ(
      errorAfter("int8", "int7"),
      "folder/t.toml:4:9: quant: unknown value \"int7\"; did you mean 'int8'? known: f32, bf16, f16, int8, int6, int4");
  EXPECT_EQ(
      errorAfter("columns = 16", "column = 16"),
      "folder/t.toml:9:1: unknown key 'column' of kind \"linear\"; did you mean 'columns'? known: tier, kind, quant, "
      "library, group, n, k, rows, columns, amx_rows, unit_block, library_rows");
  EXPECT_EQ(errorAfter("rows = 12\n", ""), "folder/t.toml:1:1: missing key 'rows': expected an integer from 1 to 64");
  EXPECT_EQ(
      errorOf("[[schedule]]\ntier = \"x86-64-v3\"\nkind = \"attention\"\nrows = 1\ncolumns = 16\nunit_block = 8\n"),
      "folder/t.toml:6:1: unknown key 'unit_block' of kind \"attention\"; known: tier, kind, rows, columns");
}

TEST(Schedules, Ranges) {
  for (const char *rows : {"0", "-1", "65", "9223372036854775807"})
    EXPECT_EQ(errorAfter("rows = 12", fmt::format("rows = {}", rows)),
              fmt::format("folder/t.toml:8:8: rows: expected an integer from 1 to 64, found the integer {}", rows));
  EXPECT_EQ(errorAfter("rows = 12", "rows = 12.0"),
            "folder/t.toml:8:8: rows: expected an integer from 1 to 64, found the number 12");
  EXPECT_EQ(errorAfter("columns = 16", "columns = 24"),
            "folder/t.toml:9:11: columns: expected a multiple of 16 from 16 to 32, found the integer 24");
  EXPECT_EQ(errorAfter("group = 32", "group = 6"),
            "folder/t.toml:5:9: group: expected a multiple of 4 from 4 to 1024, found the integer 6");
  EXPECT_EQ(errorAfter("unit_block = 24", "unit_block = 25"),
            "folder/t.toml:10:14: unit_block: expected a multiple of rows = 12, found 25");
  EXPECT_EQ(errorAfter("k = 576", "k = 1048576"),
            "folder/t.toml:10:14: unit_block: 24 rows of 1048576 features take more "
            "than 67108864 bytes of a worker's scratch memory");
}

TEST(Schedules, ContradictionsAndLimits) {
  EXPECT_EQ(
      errorAfter("columns = 16", "columns = 16\namx_rows = 5"),
      "folder/t.toml:10:12: amx_rows: expected tier amx and weights of codes, found avx512vnni linear int8, group "
      "32, n 1536, k 576");
  std::string amx = replaced(replaced(kDefault, "avx512vnni", "amx"), "columns", "amx_rows = 5\ncolumns");
  EXPECT_EQ(ScheduleTable::parse(amx, "t.toml")->layers().front()[0].amxRows, 5);
  EXPECT_EQ(errorOf(replaced(amx, "int8", "f32")),
            "folder/t.toml:6:12: amx_rows: expected tier amx and weights of codes, found amx linear f32");
  EXPECT_EQ(errorOf(replaced(replaced(amx, "rows = 4", "rows = 18"), "16", "18")),
            "folder/t.toml:5:8: rows: expected at most 16 with amx_rows, found 18");
  EXPECT_EQ(errorOf(replaced(amx, "amx_rows = 5", "amx_rows = 17")),
            "folder/t.toml:6:12: amx_rows: expected an integer from 1 to 16, found the integer 17");
  EXPECT_EQ(
      errorAfter("n = 1536\n", ""),
      "folder/t.toml:1:1: expected group, n and k together for a measured schedule, or none of them for a default");
  EXPECT_EQ(
      errorAfter("group = 32\n", ""),
      "folder/t.toml:1:1: expected group, n and k together for a measured schedule, or none of them for a default");
  EXPECT_EQ(errorAfter("int8", "f32"), "folder/t.toml:1:1: expected n and k (f32 has no group) together for a measured "
                                       "schedule, or none of them for a default");
  EXPECT_EQ(errorOf(kMeasured + kDefault + kMeasured),
            "folder/t.toml:18:1: avx512vnni linear int8, group 32, n 1536, k 576 has an entry already, at t.toml:1");
  EXPECT_EQ(errorOf(std::string((1 << 20) + 1, '#')),
            "folder/t.toml: expected a config of at most 1048576 bytes, found 1048577");
  std::string many;
  for (int i = 0; i < 4097; ++i)
    many += "[[schedule]]\n";
  EXPECT_EQ(errorOf(many), "folder/t.toml: expected at most 4096 entries, found 4097");
  EXPECT_EQ(errorOf("a" + std::string(50, '.')),
            "folder/t.toml:1:1: expected at most 24 dots in a line: keys of a config nest two deep");
}
