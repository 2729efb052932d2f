#include "runtime/Tokenizer.h"
