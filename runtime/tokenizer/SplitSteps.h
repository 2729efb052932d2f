//===- SplitSteps.h - the steps that pre-tokenizers are made of -----------===//
#pragma once

#include "runtime/tokenizer/PreTokenizer.h"

namespace lathe {

/// What becomes of a delimiter, as `tokenizers` names it.
enum class SplitBehavior { removed, isolated, mergedWithPrevious, mergedWithNext, contiguous };
/// Where Metaspace puts a space in front: of each piece, of the one at the start of the input, of none.
enum class PrependScheme { always, first, never };

using SplitStep = std::shared_ptr<const PreTokenizer::Step>;

/// A delimiter is a match, or with `invert` what lies between two.
SplitStep splitAtPattern(Pattern pattern, SplitBehavior behavior, bool invert);
/// Each character of a kind is a delimiter.
SplitStep splitAtCharacters(bool (*isDelimiter)(char32_t), SplitBehavior behavior);
/// Runs of word characters, and runs of what is neither that nor whitespace.
SplitStep splitWords();
/// Where the script changes; `tokenizers`, unicode_scripts.
SplitStep splitAtScripts();
SplitStep splitAtLength(size_t characters);
/// Spaces become `replacement`, and with `split` each begins a piece.
SplitStep splitAtMetaspace(std::string replacement, PrependScheme prepend, bool split);
/// A space is put in front where there is none.
SplitStep prependSpace();
/// Bytes become characters of the byte alphabet.
SplitStep spellBytes();

} // namespace lathe
