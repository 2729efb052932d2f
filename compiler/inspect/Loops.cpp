//===- Loops.cpp - the loops of a kernel's machine code -----------------------===//
#include "compiler/inspect/Loops.h"

#include <algorithm>
#include <map>
#include <set>

namespace lathe {
namespace {

bool endsBlock(const Instruction &instruction) {
  return instruction.text.starts_with("j") || instruction.text.starts_with("ret");
}

/// The blocks of a function and the edges between them.
struct Graph {
  struct Block {
    size_t first = 0, end = 0; ///< instructions
    std::vector<size_t> to, from;
  };
  std::vector<Block> blocks;

  explicit Graph(const std::vector<Instruction> &code) {
    std::map<uint64_t, size_t> indexOf;
    for (size_t i = 0; i < code.size(); ++i)
      indexOf[code[i].offset] = i;
    std::set<size_t> leaders{0};
    for (size_t i = 0; i < code.size(); ++i) {
      if (endsBlock(code[i]) && i + 1 < code.size())
        leaders.insert(i + 1);
      if (code[i].target && indexOf.contains(*code[i].target))
        leaders.insert(indexOf[*code[i].target]);
    }
    std::map<size_t, size_t> blockAt;
    for (auto it = leaders.begin(); it != leaders.end(); ++it) {
      blockAt[*it] = blocks.size();
      blocks.push_back({.first = *it, .end = std::next(it) == leaders.end() ? code.size() : *std::next(it)});
    }
    for (size_t b = 0; b < blocks.size(); ++b) {
      const Instruction &last = code[blocks[b].end - 1];
      if (last.target && indexOf.contains(*last.target))
        connect(b, blockAt[indexOf[*last.target]]);
      bool goesOn = !last.text.starts_with("ret") && last.mnemonic() != "jmp";
      if (goesOn && b + 1 < blocks.size())
        connect(b, b + 1);
    }
  }

  void connect(size_t from, size_t to) {
    blocks[from].to.push_back(to);
    blocks[to].from.push_back(from);
  }

  /// Blocks in reverse post-order from the entry; those that it cannot reach are left out.
  std::vector<size_t> order() const {
    std::vector<size_t> postOrder;
    std::vector<bool> seen(blocks.size());
    std::vector<std::pair<size_t, size_t>> stack{{0, 0}};
    seen[0] = true;
    while (!stack.empty()) {
      auto &[block, next] = stack.back();
      if (next == blocks[block].to.size()) {
        postOrder.push_back(block);
        stack.pop_back();
      } else if (size_t to = blocks[block].to[next++]; !seen[to]) {
        seen[to] = true;
        stack.emplace_back(to, 0);
      }
    }
    return {postOrder.rbegin(), postOrder.rend()};
  }
};

/// Immediate dominators (Cooper, Harvey, Kennedy, "A Simple, Fast Dominance Algorithm", 2001).
class Dominators {
public:
  explicit Dominators(const Graph &graph) : parent(graph.blocks.size(), none), rank(graph.blocks.size()) {
    std::vector<size_t> order = graph.order();
    for (size_t i = 0; i < order.size(); ++i)
      rank[order[i]] = i;
    parent[0] = 0;
    for (bool changed = true; changed;) {
      changed = false;
      for (size_t block : order) {
        size_t meet = none;
        for (size_t from : graph.blocks[block].from)
          if (block != 0 && parent[from] != none)
            meet = meet == none ? from : common(meet, from);
        if (meet != none && parent[block] != meet)
          parent[block] = meet, changed = true;
      }
    }
  }
  bool reached(size_t block) const { return parent[block] != none; }
  bool dominates(size_t above, size_t block) const {
    while (block != above && block != 0)
      block = parent[block];
    return block == above;
  }

private:
  size_t common(size_t a, size_t b) const {
    while (a != b) {
      while (rank[a] > rank[b])
        a = parent[a];
      while (rank[b] > rank[a])
        b = parent[b];
    }
    return a;
  }

  static constexpr size_t none = SIZE_MAX;
  std::vector<size_t> parent, rank;
};

/// The natural loops, by header; back edges to one header make one loop.
std::vector<std::set<size_t>> naturalLoops(const Graph &graph) {
  Dominators dominators(graph);
  std::map<size_t, std::set<size_t>> loops;
  for (size_t from = 0; from < graph.blocks.size(); ++from)
    for (size_t header : graph.blocks[from].to) {
      if (!dominators.reached(from) || !dominators.dominates(header, from))
        continue;
      std::set<size_t> &body = loops[header];
      body.insert(header);
      std::vector<size_t> open{from};
      while (!open.empty()) {
        size_t block = open.back();
        open.pop_back();
        if (body.insert(block).second)
          for (size_t before : graph.blocks[block].from)
            if (dominators.reached(before))
              open.push_back(before);
      }
    }
  std::vector<std::set<size_t>> found;
  for (auto &[header, body] : loops)
    found.push_back(std::move(body));
  return found;
}

CodeLoop loopOf(const Graph &graph, const std::set<size_t> &body, const std::vector<Instruction> &code) {
  CodeLoop loop;
  std::map<std::string, int64_t> shares;
  for (size_t block : body)
    for (size_t i = graph.blocks[block].first; i < graph.blocks[block].end; ++i) {
      loop.instructions.push_back(i);
      if (int64_t adds = multiplyAddsOf(code[i])) {
        ++loop.products;
        loop.multiplyAdds += adds;
        shares[code[i].mnemonic()] += adds;
      }
    }
  for (const auto &[mnemonic, share] : shares)
    if (loop.mnemonic.empty() || share > shares[loop.mnemonic])
      loop.mnemonic = mnemonic;
  return loop;
}

} // namespace

int64_t multiplyAddsOf(const Instruction &instruction) {
  const std::string &text = instruction.text;
  int64_t bits = text.find("zmm") != std::string::npos ? 512 : text.find("ymm") != std::string::npos ? 256 : 128;
  auto starts = [&](std::initializer_list<const char *> words) {
    return std::ranges::any_of(words, [&](const char *word) { return text.starts_with(word); });
  };
  if (starts({"tdpb"})) // 16 rows by 16 columns, 64 bytes deep
    return 16 * 16 * (text.starts_with("tdpbf16") ? 32 : 64);
  if (starts({"vpdpb", "vpmaddubsw"}))
    return bits / 8;
  if (starts({"vpdpw", "vdpbf16ps"}))
    return bits / 16;
  if (starts({"vfmadd", "vfmsub", "vfnmadd", "vfnmsub", "vmul"})) {
    std::string kind = instruction.mnemonic();
    kind = kind.substr(kind.size() - 2);
    return kind == "ps" ? bits / 32 : kind == "pd" ? bits / 64 : 1;
  }
  return 0;
}

std::vector<CodeLoop> productLoops(const std::vector<Instruction> &code) {
  if (code.empty())
    return {};
  Graph graph(code);
  std::vector<std::set<size_t>> loops = naturalLoops(graph);
  std::vector<CodeLoop> found;
  for (const std::set<size_t> &body : loops) {
    std::set<size_t> own = body;
    for (const std::set<size_t> &other : loops)
      if (other.size() < body.size() && std::ranges::includes(body, other))
        for (size_t block : other)
          own.erase(block);
    if (CodeLoop loop = loopOf(graph, own, code); loop.products)
      found.push_back(std::move(loop));
  }
  std::ranges::stable_sort(found, std::greater(), &CodeLoop::multiplyAdds);
  return found;
}

std::string describe(const CodeLoop &loop) {
  return fmt::format("{} instructions, {} of them products (most by {}), {} multiply-adds a round",
                     loop.instructions.size(), loop.products, loop.mnemonic, loop.multiplyAdds);
}

std::string printCode(const std::vector<Instruction> &code, const std::vector<CodeLoop> &loops) {
  std::vector<bool> marked(code.size());
  if (!loops.empty())
    for (size_t i : loops.front().instructions)
      marked[i] = true;
  std::string text;
  for (size_t i = 0; i < code.size(); ++i) {
    std::string mnemonic = code[i].mnemonic(), operands = code[i].text.substr(mnemonic.size());
    if (code[i].target)
      operands = fmt::format(" {:x}", *code[i].target);
    text += fmt::format("{} {:5x}:  {}\n", marked[i] ? '|' : ' ', code[i].offset,
                        operands.empty() ? mnemonic : fmt::format("{:<13}{}", mnemonic, operands));
  }
  return text;
}

} // namespace lathe
