//===- KernOps.td - the program of one tile, and its launches --------------===//
//
// A kernel is a func.func over bare buffers (memrefs whose dimensions are the physical ones, padding
// included); it computes the units and column tiles that `kern.program_id` names. What upstream has (arith,
// math, scf, vector, memref loads and stores) is used as it is; this dialect adds only what it lacks. The
// host program is a func.func of kern.weight, kern.buffer, kern.kv and kern.launch. Reasons: README.md.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_KERN_OPS
#define LATHE_KERN_OPS

include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"
include "mlir/IR/OpBase.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Kern_Dialect : Dialect {
  let name = "kern";
  let cppNamespace = "::lathe::kern";
  let summary = "Kernels as programs of one tile, and the launches of a step";
  let useDefaultAttributePrinterParser = 1;
}

//===----------------------------------------------------------------------===//
// Attributes
//===----------------------------------------------------------------------===//

// An enumeration prints a space before its word: a `` before it in a format takes the format's own away.

def Kern_Unit : I32EnumAttr<"Unit", "what a kernel's units are at run time",
    [I32EnumAttrCase<"rows", 0>, I32EnumAttrCase<"logit_rows", 1>, I32EnumAttrCase<"items", 2>,
     I32EnumAttrCase<"partials", 3>]> { let cppNamespace = "::lathe::kern"; let genSpecializedAttr = 0; }
def Kern_UnitAttr : EnumAttr<Kern_Dialect, Kern_Unit, "unit">;

def Kern_Schedule : AttrDef<Kern_Dialect, "Schedule"> {
  let mnemonic = "schedule";
  let summary = "how one kernel is tiled on one target; one pass writes it, all later ones obey";
  let description = [{
    `#kern.schedule<target = "avx512vnni", unit_block = 48, rows = 6, columns = 32>`: a call takes at most `unit_block` units; a register tile is `rows` x `columns` (of the
    panel of 32 that weights are packed in; a narrower one walks the panel in parts). With `amx_rows = 5` products of at least so many rows are made in AMX tiles, with
    `library = "onednn", library_rows = 16` calls of 16 rows or more leave their products to that library. `origin = "default, cpu.toml:21"` says which entry of a table gave it.
    On a GPU, `#kern.schedule<target = "cuda", unit_block = 64, rows = 64, columns = 128, least_rows = 33, depth = 64>` is that of a kernel for steps of 33 rows and more: a block makes `rows` by
    `columns` at most, and has `depth` columns of its rows in shared memory at a time. It stands behind the one for fewer rows.
  }];
  let parameters = (ins "::mlir::StringAttr":$target, "int64_t":$unit_block, "int64_t":$rows, "int64_t":$columns,
                    DefaultValuedParameter<"int64_t", "0">:$amx_rows, OptionalParameter<"::mlir::StringAttr">:$library, OptionalParameter<"int64_t">:$library_rows,
                    OptionalParameter<"int64_t">:$least_rows, OptionalParameter<"int64_t">:$depth, OptionalParameter<"::mlir::StringAttr">:$origin);
  let assemblyFormat = "`<` struct(params) `>`";
  let genVerifyDecl = 1;
}

def Kern_Order : I32EnumAttr<"Order", "order of a packed weight's output features",
    [I32EnumAttrCase<"flat", 0>, I32EnumAttrCase<"heads", 1>, I32EnumAttrCase<"interleaved", 2>]> { let cppNamespace = "::lathe::kern"; let genSpecializedAttr = 0; }

def Kern_Pack : AttrDef<Kern_Dialect, "Pack"> {
  let mnemonic = "pack";
  let summary = "how output features are put into panels of 32";
  let description = [{
    `#kern.pack<order = heads, dim = 24>`. flat: the sources' rows one after another, padded to panels at the end. heads: each head of `dim` rows is padded to
    whole panels. interleaved: `dim` rows of each source alternate, a short last block padded to `dim` (two sources and dim 16 fill a panel).
  }];
  let parameters = (ins "::lathe::kern::Order":$order, "int64_t":$dim);
  let assemblyFormat = "`<` struct(params) `>`";
  let genVerifyDecl = 1;
}

def Kern_Coding : AttrDef<Kern_Dialect, "Coding"> {
  let mnemonic = "coding";
  let summary = "how a packed weight stores its codes and scales";
  let description = [{
    `#kern.coding<bits = 4, group = 32, scale = f16, bias = 8>`: value = scale * (code - bias) + minimum, codes unsigned, one scale (and minimum) for `group` elements along k.
    With `super`, scale and minimum belong to `super` elements and are multiplied by the group's sub_scale and minus its sub_minimum (i8).

    codes: 8 bits [panels][k/4][32][4]. 4 bits [panels][k/8][32][4]: the low half of a byte belongs to the even quad of k, the high half to the odd one. 6 bits: the low four like
    4 bits, k padded to 16, and codes_high [panels][k/16][32][4] with two bits for each of four quads, the first lowest.
    scales, minima: [panels][groups or supers][32] of `scale`. sub_scales, sub_minima: [panels][groups][32] bytes.
    On a GPU, of signed bytes without minima: codes [panels of 8][blocks of k][8][64] as s8, in the order of `dot` of runtime/device/dot.cuh; scales [panels of 8][groups][8], a scale for each
    64 elements at least, k filled up to whole blocks.
  }];
  let parameters = (ins DefaultValuedParameter<"int64_t", "8">:$bits, "int64_t":$group, "::mlir::Type":$scale, DefaultValuedParameter<"int64_t", "128">:$bias,
                        DefaultValuedParameter<"bool", "false">:$minimum, DefaultValuedParameter<"int64_t", "0">:$super,
                        DefaultValuedParameter<"::mlir::StringAttr", "::mlir::StringAttr::get($_ctxt, \"absmax\")">:$method);
  let assemblyFormat = "`<` struct(params) `>`";
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    /// The arrays that a weight of k columns consists of, in the order in which kern.dot takes them.
    ::llvm::SmallVector<::lathe::kern::Part> parts() const;
    /// The physical type of one of them.
    ::mlir::MemRefType typeOf(::lathe::kern::Part part, int64_t panels, int64_t k) const;
    /// Elements along k that a load of codes covers: 4, 8 or 16.
    int64_t loadSpan() const { return 32 / (getBits() == 6 ? 2 : getBits()); }
    /// Whether a code without its bias is a signed byte.
    bool isSignedByte() const { return getBits() < 8 || getBias() == 128; }
    /// What kern.unpack makes of some panels.
    ::mlir::MemRefType unpackedType(int64_t panels, int64_t k, int64_t inputGroup) const;
  }];
}

def Kern_Part : I32EnumAttr<"Part", "which array of a packed weight",
    [I32EnumAttrCase<"values", 0>, I32EnumAttrCase<"codes", 1>, I32EnumAttrCase<"scales", 2>, I32EnumAttrCase<"rope_low", 3>, I32EnumAttrCase<"rope_high", 4>,
     I32EnumAttrCase<"vector", 5>, I32EnumAttrCase<"codes_high", 6>, I32EnumAttrCase<"sub_scales", 7>, I32EnumAttrCase<"minima", 8>,
     I32EnumAttrCase<"sub_minima", 9>]> { let cppNamespace = "::lathe::kern"; let genSpecializedAttr = 0; }
def Kern_PartAttr : EnumAttr<Kern_Dialect, Kern_Part, "part">;

def Kern_Field : I32EnumAttr<"Field", "an array of the step, see LatheStep in runtime/Abi.h",
    [I32EnumAttrCase<"token_ids", 0>, I32EnumAttrCase<"row_sequence", 1>, I32EnumAttrCase<"row_position", 2>, I32EnumAttrCase<"logit_row", 3>,
     I32EnumAttrCase<"item_row", 4>, I32EnumAttrCase<"item_end", 5>, I32EnumAttrCase<"item_chunk", 6>, I32EnumAttrCase<"item_chunk_end", 7>,
     I32EnumAttrCase<"item_count", 8>, I32EnumAttrCase<"item_counter", 9>, I32EnumAttrCase<"item_record", 10>]> { let cppNamespace = "::lathe::kern"; let genSpecializedAttr = 0; }
def Kern_FieldAttr : EnumAttr<Kern_Dialect, Kern_Field, "field">;

def Kern_Scope : I32EnumAttr<"Scope", "GPU: whose threads meet",
    [I32EnumAttrCase<"group", 0>, I32EnumAttrCase<"block", 1>]> { let cppNamespace = "::lathe::kern"; let genSpecializedAttr = 0; }
def Kern_ScopeAttr : EnumAttr<Kern_Dialect, Kern_Scope, "scope">;

def Kern_Combine : I32EnumAttr<"Combine", "how lanes are combined",
    [I32EnumAttrCase<"add", 0>, I32EnumAttrCase<"max", 1>]> { let cppNamespace = "::lathe::kern"; let genSpecializedAttr = 0; }
def Kern_CombineAttr : EnumAttr<Kern_Dialect, Kern_Combine, "combine">;

//===----------------------------------------------------------------------===//
// Kernels
//===----------------------------------------------------------------------===//

class Kern_Op<string mnemonic, list<Trait> traits = []> : Op<Kern_Dialect, mnemonic, traits>;

def Kern_ProgramIdOp : Kern_Op<"program_id", [Pure]> {
  let summary = "the units and column tiles of this call";
  let description = [{
    ```mlir
    %u0, %u1, %t0, %t1 = kern.program_id
    ```
  }];
  let results = (outs Index:$unitBegin, Index:$unitEnd, Index:$tileBegin, Index:$tileEnd);
  let assemblyFormat = "attr-dict";
}

def Kern_PreparedOp : Kern_Op<"prepared", [Pure]> {
  let summary = "whether scratch still holds what the last call of this kernel in the launch made of the same units";
  let description = [{
    ```mlir
    %prepared = kern.prepared
    ```
  }];
  let results = (outs I1:$result);
  let assemblyFormat = "attr-dict";
}

def Kern_BatchOp : Kern_Op<"batch", [Pure]> {
  let summary = "an element of one of the batch's arrays";
  let description = [{
    ```mlir
    %position = kern.batch row_position[%row]
    ```
  }];
  let arguments = (ins Kern_FieldAttr:$field, Index:$index);
  let results = (outs Index:$result);
  let assemblyFormat = "`` $field `[` $index `]` attr-dict";
}

def Kern_GatherPagesOp : Kern_Op<"gather_pages", [Pure]> {
  let summary = "the physical page behind a logical page of a sequence";
  let description = [{
    ```mlir
    %page = kern.gather_pages %sequence, %logical
    ```
  }];
  let arguments = (ins Index:$sequence, Index:$logical);
  let results = (outs Index:$result);
  let assemblyFormat = "$sequence `,` $logical attr-dict";
}

def Kern_ScratchOp : Kern_Op<"scratch", [MemoryEffects<[MemAlloc]>]> {
  let summary = "memory private to a worker, uninitialised, aligned to 64 bytes";
  let description = [{
    Whole rows live here; vectors live in registers.

    ```mlir
    %codes = kern.scratch : memref<48x576xi8>
    ```
  }];
  let results = (outs AnyMemRef:$result);
  let assemblyFormat = "attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def Kern_UnpackOp : Kern_Op<"unpack", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "the codes of a panel without their bias, as signed bytes";
  let description = [{
    into[place, q, j, i] = code of column j at 4q + i - bias, in the order of 8-bit codes whatever the weight's bits are. k is padded to whole units (a unit being the smaller of
    the weight's group and `input_group`): what the weight stores behind k stays, up to a multiple of 16 at most, the rest is zero. `kern.dot` multiplies it in AMX tiles.

    ```mlir
    kern.unpack (%w, %ws[%panel]) into %bytes[%place] k 576 coding <group = 64, scale = bf16> input_group 32
      : (memref<18x144x32x4xi8>, memref<18x9x32xbf16>) into memref<1x144x32x4xi8>
    ```
  }];
  let arguments = (ins Variadic<AnyMemRef>:$weight, Index:$panel, AnyMemRef:$into, Index:$place, I64Attr:$k, Kern_Coding:$coding, I64Attr:$inputGroup);
  let assemblyFormat = [{ `(` $weight `[` $panel `]` `)` `into` $into `[` $place `]` `k` $k `coding` $coding `input_group` $inputGroup attr-dict
                          `:` `(` type($weight) `)` `into` type($into) }];
  let hasVerifier = 1;
}

def Kern_DotOp : Kern_Op<"dot", [AttrSizedOperandSegments, MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "a register tile of a matrix product: rows of activations by one panel of a packed weight";
  let description = [{
    For i < count (1 <= count <= rows of the schedule) and j < 32: into[i, column + j] = Σ_k input[row + i, k] * weight[panel, k, j].

    Floats: input [rows][k] of f32, weight [panels][k][32] of f32 or f16, or [panels][k/2][32][2] of bf16, neighbours along k side by side; an odd k is padded. The weight's
    values are those in f32. k runs in spans of 256; a span's sum is one chain of fused multiply-adds from 0 on, and the spans' sums are added to 0 in order. Input in bf16,
    [rows][k padded to 16], whose padding is zero, by weight in bf16: as vdpbf16ps adds pairs of products, pairs in order.
    Codes: the weight's arrays are those of `coding`. The input's are codes [rows][k padded to 16] i8 in groups of `input_group` along k with scales [rows][input groups] f32,
    offsets [rows][units] i32 = -bias * the unit's sum of codes, where a unit is the smaller of both groups, and with minima sums [rows][groups] f32 = the sum of codes * scale of a
    weight's group. A unit's sum is exact in i32. Units and groups are added in order: equal groups, or a smaller one of the weight, acc = fma(float(sum) * input scale, scale, acc);
    a larger one of the weight, part = fma(float(sum), input scale, part) and acc = fma(part, scale, acc); a minimum acc = fma(sums, minimum, acc).

    `ahead` is a hint: of the array of codes, or of the weight, what lies so many bytes behind will be wanted soon.
    `unpacked` are the panel's codes as kern.unpack left them. From the schedule's amx_rows on a product is then made in AMX tiles, with the same bits; all of the `rows` rows of
    the input from `row` on are read (and scaled) whatever `count` is, and so are up to 63 codes behind a row.
    With `library` the spans' or the units' sums are that library's; they are the same numbers, and so is the result. Codes must be of 8 bits with bias 128.

    ```mlir
    kern.dot %count of 6 rows (%a[%row]) by (%w[%panel]) into %c[%column] k 576 : (memref<48x576xf32>) by (memref<18x576x32xf32>) into memref<6x64xf32>
    kern.dot %count of 6 rows (%a[%row]) by (%w[%panel]) into %c[%column] k 576 : (memref<48x576xf32>) by (memref<18x288x32x2xbf16>) into memref<6x64xf32>
    kern.dot %count of 6 rows (%a, %as, %ao[%row]) by (%w, %ws[%panel]) into %c[%column] k 576 coding <group = 64, scale = bf16> input_group 64
      : (memref<48x576xi8>, memref<48x9xf32>, memref<48x9xi32>) by (memref<18x144x32x4xi8>, memref<18x9x32xbf16>) into memref<6x64xf32>
    ```
  }];
  let arguments = (ins Index:$count, I64Attr:$maxCount, Variadic<AnyMemRef>:$input, Index:$row, Variadic<AnyMemRef>:$weight, Index:$panel,
                       AnyMemRef:$into, Index:$column, Optional<AnyMemRef>:$unpacked, Optional<Index>:$place, I64Attr:$k, OptionalAttr<Kern_Coding>:$coding,
                       OptionalAttr<I64Attr>:$inputGroup, Optional<Index>:$ahead, OptionalAttr<StrAttr>:$library);
  let assemblyFormat = [{ $count `of` $maxCount `rows` (`library` $library^)? `(` $input `[` $row `]` `)` `by` `(` $weight `[` $panel `]` `)` `into` $into `[` $column `]`
                          (`unpacked` $unpacked^ `[` $place `]`)? `k` $k (`coding` $coding^ `input_group` $inputGroup)? (`ahead` $ahead^)? attr-dict
                          `:` `(` type($input) `)` `by` `(` type($weight) `)` `into` type($into) (`unpacked` type($unpacked)^)? }];
  let hasVerifier = 1;
}

def Kern_ArriveOp : Kern_Op<"arrive", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "counts a finished part of split work; true for the one that comes last";
  let description = [{
    Whoever gets true sees everything that the others stored before they arrived, and the counter is 0 again.

    ```mlir
    %last = kern.arrive %counter of %count
    ```
  }];
  let arguments = (ins Index:$counter, Index:$count);
  let results = (outs I1:$last);
  let assemblyFormat = "$counter `of` $count attr-dict";
}

def Kern_Sums : Type<CPred<"$_self == ::mlir::VectorType::get({16}, ::mlir::IntegerType::get($_self.getContext(), 32))">, "16 lanes of i32",
                     "::mlir::VectorType">, BuildableType<"::mlir::VectorType::get({16}, $_builder.getI32Type())">;
def Kern_Quads : Type<CPred<"$_self == ::mlir::VectorType::get({64}, ::mlir::IntegerType::get($_self.getContext(), 8))">, "16 times 4 bytes",
                      "::mlir::VectorType">, BuildableType<"::mlir::VectorType::get({64}, $_builder.getI8Type())">;

def Kern_ByteDotOp : Kern_Op<"byte_dot", [Pure]> {
  let summary = "four products of unsigned and signed bytes added to each of 16 sums";
  let description = [{
    result[i] = sum[i] + Σ_j unsigned[4i + j] * signed[4i + j], exact in i32. No signed byte may be -128: AVX2 adds two products in 16 bits.

    ```mlir
    %next = kern.byte_dot %sum, %key by %query
    ```
  }];
  let arguments = (ins Kern_Sums:$sum, Kern_Quads:$unsignedBytes, Kern_Quads:$signedBytes);
  let results = (outs Kern_Sums:$result);
  let assemblyFormat = "$sum `,` $unsignedBytes `by` $signedBytes attr-dict";
}

def Kern_ReduceOp : Kern_Op<"reduce", [Pure]> {
  let summary = "the lanes of a vector combined by a fixed tree";
  let description = [{
    Halves are combined lane by lane until one is left, so the result does not depend on the machine's vector width. On a GPU a vector of all threads of a block
    takes scratch of one element a warp of 32 lanes: groups of 16 lanes are combined first, then the two of a warp, then the warps' results in order.

    ```mlir
    %sum = kern.reduce add %v : vector<16xf32> -> f32
    %sum = kern.reduce add %v through %partial : vector<256xf32>, memref<8xf32> -> f32
    ```
  }];
  let arguments = (ins Kern_CombineAttr:$kind, AnyVectorOfNonZeroRank:$input, Optional<AnyMemRef>:$partial);
  let results = (outs AnyType:$result);
  let assemblyFormat = "`` $kind $input (`through` $partial^)? attr-dict `:` type($input) (`,` type($partial)^)? `->` type($result)";
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Kernels on a GPU: what all threads of a block do together
//===----------------------------------------------------------------------===//

def Kern_GroupIdOp : Kern_Op<"group_id", [Pure]> {
  let summary = "GPU: this thread's group of 16 lanes within its block";
  let description = [{
    A block is 256 threads. A vector of 16 lanes is a register in each thread of a group, a vector of 256 lanes one in each thread of the block; scalars are the same in
    all threads that work together. A loop over rows that begins here and goes on by the number of groups gives each row to one group.

    ```mlir
    %group = kern.group_id
    ```
  }];
  let results = (outs Index:$result);
  let assemblyFormat = "attr-dict";
}

def Kern_LaneIdOp : Kern_Op<"lane_id", [Pure]> {
  let summary = "GPU: this thread's lane within its group";
  let results = (outs Index:$result);
  let assemblyFormat = "attr-dict";
}

def Kern_BarrierOp : Kern_Op<"barrier", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "GPU: waits for the threads of the scope; they see what each of them stored before";
  let description = [{
    ```mlir
    kern.barrier block
    ```
  }];
  let arguments = (ins Kern_ScopeAttr:$scope);
  let assemblyFormat = "`` $scope attr-dict";
}

def Kern_PrefetchOp : Kern_Op<"prefetch", [MemoryEffects<[MemRead]>]> {
  let summary = "GPU: asks for some columns of a packed weight, before it is known what they are multiplied by";
  let description = [{
    All threads of the block. It changes no result, and is the one access that may stand before kern.dependency_wait.

    ```mlir
    kern.prefetch %w[%panel] columns 32 : memref<384x32x8x32xbf16>
    ```
  }];
  let arguments = (ins AnyMemRef:$weight, Index:$panel, I64Attr:$columns);
  let assemblyFormat = "$weight `[` $panel `]` `columns` $columns attr-dict `:` type($weight)";
  let hasVerifier = 1;
}

def Kern_DependencyWaitOp : Kern_Op<"dependency_wait", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "GPU: waits until the launches before this one have ended and what they stored is there";
  let description = [{
    A kernel that waits may be launched while those before it still run (griddepcontrol.wait of PTX, from sm_90 on). Before it, each thread may ask for weights and nothing else;
    each thread must come to it, also of a block that finds nothing to do.

    ```mlir
    kern.dependency_wait
    ```
  }];
  let assemblyFormat = "attr-dict";
}

def Kern_DependencyTriggerOp : Kern_Op<"dependency_trigger", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "GPU: the next launch may start where it waits by itself";
  let description = [{
    It starts when all blocks have come here or ended (griddepcontrol.launch_dependents), and sees nothing of them before its own kern.dependency_wait.

    ```mlir
    kern.dependency_trigger
    ```
  }];
  let assemblyFormat = "attr-dict";
}

def Kern_LoadAlongOp : Kern_Op<"load_along", [MemoryEffects<[MemRead]>]> {
  let summary = "GPU: lane i takes the element that lies stride * i further along one dimension";
  let description = [{
    ```mlir
    %even = kern.load_along %tile[%slot, %column] dim 1 stride 2 : memref<8x64xf32> -> vector<16xf32>
    ```
  }];
  let arguments = (ins AnyMemRef:$memref, Variadic<Index>:$indices, I64Attr:$dim, I64Attr:$stride);
  let results = (outs AnyVectorOfNonZeroRank:$result);
  let assemblyFormat = "$memref `[` $indices `]` `dim` $dim `stride` $stride attr-dict `:` type($memref) `->` type($result)";
  let hasVerifier = 1;
}

def Kern_StoreAlongOp : Kern_Op<"store_along", [MemoryEffects<[MemWrite]>]> {
  let summary = "GPU: lane i goes to the element that lies stride * i further along one dimension";
  let description = [{
    ```mlir
    kern.store_along %value, %values[%page, %head, %column, %place] dim 2 stride 1 : vector<16xbf16>, memref<?x3x64x32xbf16>
    ```
  }];
  let arguments = (ins AnyVectorOfNonZeroRank:$value, AnyMemRef:$memref, Variadic<Index>:$indices, I64Attr:$dim, I64Attr:$stride);
  let assemblyFormat = "$value `,` $memref `[` $indices `]` `dim` $dim `stride` $stride attr-dict `:` type($value) `,` type($memref)";
  let hasVerifier = 1;
}

def Kern_BlockDotOp : Kern_Op<"block_dot", [AttrSizedOperandSegments, MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "GPU: the rows of a block by some panels of a packed weight";
  let description = [{
    For r < count and c < columns of `into`: into[r, c] = Σ_k input[r, k] * weight[panel + c / 8, k / block, c mod 8, k mod block]. All threads of the block take part; the input must
    have been stored before a barrier, and the result may be read behind one. Weights are [panels][blocks of k][8][64 bytes of k]; input rows are padded with zeros to whole blocks.

    f32: k in spans of 256, a span's sum one chain of fused multiply-adds from 0 on, the spans' sums added to 0 in order: the bits of kern.dot. bf16 (input and weight): the blocks of k in 8
    spans of equal length, the last ones shorter or empty, a span's sum one chain of mma.m16n8k16 from 0 on, whose order of k is that of the packing; the spans' sums added in order. Codes (with
    their scales, input in bf16): such spans, whose sum is acc = fma(product, scale, acc) over groups in order, a group's product one chain of mma.m16n8k16 from 0 on. It is `dot` of
    runtime/device/dot.cuh, with shared memory of its own for the spans' sums. With `from` the input is activations in global memory, from that row on: the same bits, since they are rounded alike.

    ```mlir
    kern.block_dot %count rows (%input) by (%w[%panel]) into %tile : memref<8x1056xbf16> by memref<384x32x8x32xbf16> into memref<8x32xf32>
    kern.block_dot %count rows (%input) by (%codes, %scales[%panel]) into %tile : memref<8x608xbf16> by memref<72x9x8x64xi8>, memref<72x18x8xbf16> into memref<8x32xf32>
    kern.block_dot %count rows (%x from %first) by (%w[%panel]) into %tile : memref<?x8192xf32> by memref<256x256x8x32xbf16> into memref<8x32xf32>
    ```
  }];
  let arguments = (ins Index:$count, AnyMemRef:$input, Optional<Index>:$row, Variadic<AnyMemRef>:$weight, Index:$panel, AnyMemRef:$into);
  let assemblyFormat = [{ $count `rows` `(` $input (`from` $row^)? `)` `by` `(` $weight `[` $panel `]` `)` `into` $into attr-dict `:` type($input) `by` type($weight) `into` type($into) }];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// Bytes of shared memory for the spans' sums.
    int64_t sumBytes();
  }];
}

def Kern_GemmStartOp : Kern_Op<"gemm_start", [MemoryEffects<[MemAlloc, MemRead]>]> {
  let summary = "GPU: begins a product of many rows whose sums stay in registers";
  let description = [{
    The result is [rows][columns] spread over the registers of the block's threads, all zero, for columns of the weight from panel `panel` on; those behind the weight's have no meaning.
    kern.gemm_piece adds to it, kern.gemm_store takes it. Weights are bf16, or codes with scales, as for kern.block_dot. All threads of the block take part. It is `start_gemm` of runtime/device/gemm.cuh.

    ```mlir
    %sums = kern.gemm_start (%w[%panel]) : memref<384x32x8x32xbf16> -> memref<64x128xf32, "registers">
    ```
  }];
  let arguments = (ins Variadic<AnyMemRef>:$weight, Index:$panel);
  let results = (outs AnyMemRef:$sums);
  let assemblyFormat = "`(` $weight `[` $panel `]` `)` attr-dict `:` type($weight) `->` type($sums)";
  let hasVerifier = 1;
}

def Kern_GemmPieceOp : Kern_Op<"gemm_piece", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "GPU: adds the product of some columns of k to the sums of a product";
  let description = [{
    Input is [stages][parts][rows][32] of bf16: column 32 p + c of piece number `piece` of each row stands in [stage, p, row, c]. Pieces are added in order, from 0; `count` rows are read, and
    columns up to whole blocks of the weight, which are zeros behind k. The stage must have been stored before a barrier. The sums are those of kern.block_dot to the bit: the same spans of k, each the
    same chain. It is `add_piece` of runtime/device/gemm.cuh.

    ```mlir
    kern.gemm_piece %piece of %count rows (%input[%stage]) into %sums : memref<2x2x64x32xbf16> into memref<64x128xf32, "registers">
    ```
  }];
  let arguments = (ins Index:$piece, Index:$count, AnyMemRef:$input, Index:$stage, AnyMemRef:$sums);
  let assemblyFormat = "$piece `of` $count `rows` `(` $input `[` $stage `]` `)` `into` $sums attr-dict `:` type($input) `into` type($sums)";
  let hasVerifier = 1;
}

def Kern_GemmStoreOp : Kern_Op<"gemm_store", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "GPU: stores the sums of a product, tiles of columns one behind the other";
  let description = [{
    into[c / width * rows + r, c mod width] = sums[r, c] for r < count, `width` being the columns of `into`, whose rows are those of all tiles. They may be read behind a barrier.

    ```mlir
    kern.gemm_store %count rows of %sums into %tile : memref<64x128xf32, "registers"> into memref<256x32xf32>
    ```
  }];
  let arguments = (ins Index:$count, AnyMemRef:$sums, AnyMemRef:$into);
  let assemblyFormat = "$count `rows` `of` $sums `into` $into attr-dict `:` type($sums) `into` type($into)";
  let hasVerifier = 1;
}

def Kern_LoadCodesOp : Kern_Op<"load_codes", [MemoryEffects<[MemRead]>]> {
  let summary = "GPU: neighbouring elements of a feature's block of codes, as floats without their scale";
  let description = [{
    Lane i takes element `element` + i of the block, wherever it stands (dot.cuh says how codes are permuted).

    ```mlir
    %value = kern.load_codes %codes[%panel, %block, %feature, %element] : memref<72x9x8x64xi8> -> vector<16xf32>
    ```
  }];
  let arguments = (ins AnyMemRef:$codes, Index:$panel, Index:$block, Index:$feature, Index:$element);
  let results = (outs AnyVectorOfNonZeroRank:$result);
  let assemblyFormat = "$codes `[` $panel `,` $block `,` $feature `,` $element `]` attr-dict `:` type($codes) `->` type($result)";
  let hasVerifier = 1;
}

def Kern_StoreCodesOp : Kern_Op<"store_codes", [MemoryEffects<[MemWrite]>]> {
  let summary = "GPU: neighbouring columns of a position's key or value to its page of int8";
  let description = [{
    Lane i's code is that of column `column` + i, wherever the page has it (attention.cuh says how codes are permuted). `keys` says which of both pages it is.

    ```mlir
    kern.store_codes keys %codes, %keys[%page, %head, %place, %column] : vector<16xi8>, memref<?x3x72x32xi8>
    ```
  }];
  let arguments = (ins UnitAttr:$keys, AnyVectorOfNonZeroRank:$codes, AnyMemRef:$pages, Index:$page, Index:$head, Index:$place, Index:$column);
  let assemblyFormat = "(`keys` $keys^)? $codes `,` $pages `[` $page `,` $head `,` $place `,` $column `]` attr-dict `:` type($codes) `,` type($pages)";
  let hasVerifier = 1;
}

def Kern_StoreScaleOp : Kern_Op<"store_scale", [MemoryEffects<[MemWrite]>]> {
  let summary = "GPU: the scale of a position's key or value to its page of int8";
  let description = [{
    Both scales stand behind the codes of the keys. All lanes of the group take part, with the same number.

    ```mlir
    kern.store_scale keys %scale, %keys[%page, %head, %place] : memref<?x3x72x32xi8>
    ```
  }];
  let arguments = (ins UnitAttr:$keys, F32:$scale, AnyMemRef:$pages, Index:$page, Index:$head, Index:$place);
  let assemblyFormat = "(`keys` $keys^)? $scale `,` $pages `[` $page `,` $head `,` $place `]` attr-dict `:` type($pages)";
  let hasVerifier = 1;
}

def Kern_BlockScoresOp : Kern_Op<"block_scores", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "GPU: a block's queries by the keys of some pages of one chunk";
  let description = [{
    into[q, j] = Σ_d queries[q, d] * key of position j of the chunk, for q < count and the positions of pages [first, end) of the sequence, which are the chunk's. All threads take part,
    barriers as for kern.block_dot. f32: one chain of fused multiply-adds in order of d; bf16: one chain of mma.m16n8k16; int8: queries in bf16 by the codes, such a chain, then times the
    position's scale. Of int8, `scales[j]` is also the scale of the value of position j. It is `score_chunk` of runtime/device/attention.cuh.

    ```mlir
    kern.block_scores %count rows (%queries) by %keys of %sequence, %head chunk %chunk pages %first to %end into %scores : memref<8x64xf32> by memref<?x3x32x64xf32> into memref<8x260xf32>
    kern.block_scores %count rows (%queries) by %codes of %sequence, %head chunk %chunk pages %first to %end into %scores scales %scales
      : memref<8x96xbf16> by memref<?x3x72x32xi8> into memref<8x260xf32> scales memref<256xf32>
    ```
  }];
  let arguments = (ins Index:$count, AnyMemRef:$queries, AnyMemRef:$keys, Index:$sequence, Index:$head, Index:$chunk, Index:$firstPage, Index:$endPage, AnyMemRef:$into, Optional<AnyMemRef>:$scales);
  let assemblyFormat = [{ $count `rows` `(` $queries `)` `by` $keys `of` $sequence `,` $head `chunk` $chunk `pages` $firstPage `to` $endPage `into` $into (`scales` $scales^)? attr-dict
                          `:` type($queries) `by` type($keys) `into` type($into) (`scales` type($scales)^)? }];
  let hasVerifier = 1;
}

def Kern_BlockWeighOp : Kern_Op<"block_weigh", [MemoryEffects<[MemRead, MemWrite]>]> {
  let summary = "GPU: the values of some pages of one chunk, by a block's weights";
  let description = [{
    into[q, d] = Σ_j weights[q, j] * value d of position j of the chunk, for q < count and the positions below `positions` (of the sequence) of pages [first, end). Weights are 0 from there to
    the last page's end; slots behind the last position are never multiplied: they may hold NaN. f32: one chain of fused multiply-adds in order of j; bf16: weights rounded, one chain of
    mma.m16n8k16; int8: the same by codes, weights being times their value's scale already. It is `weigh_chunk` of runtime/device/attention.cuh.

    ```mlir
    kern.block_weigh %count rows (%weights) by %values of %sequence, %head chunk %chunk pages %first to %end below %positions into %products
      : memref<8x260xf32> by memref<?x3x64x32xf32> into memref<8x64xf32>
    ```
  }];
  let arguments = (ins Index:$count, AnyMemRef:$weights, AnyMemRef:$values, Index:$sequence, Index:$head, Index:$chunk, Index:$firstPage, Index:$endPage, Index:$positions, AnyMemRef:$into);
  let assemblyFormat = [{ $count `rows` `(` $weights `)` `by` $values `of` $sequence `,` $head `chunk` $chunk `pages` $firstPage `to` $endPage `below` $positions `into` $into attr-dict
                          `:` type($weights) `by` type($values) `into` type($into) }];
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// The host program
//===----------------------------------------------------------------------===//

def Kern_WeightOp : Kern_Op<"weight", [Pure]> {
  let summary = "one array of a packed weight";
  let description = [{
    `sources` are the model's tensors, `part` says what is made of them, the result's dimensions are the physical ones.

    ```mlir
    %codes = kern.weight codes ["model.layers.0.self_attn.q_proj.weight"] pack <order = heads, dim = 64> coding <group = 64, scale = bf16> k 576 : memref<18x144x32x4xi8>
    ```
  }];
  let arguments = (ins Kern_PartAttr:$part, StrArrayAttr:$sources, OptionalAttr<Kern_Pack>:$pack, OptionalAttr<Kern_Coding>:$coding, OptionalAttr<AnyAttr>:$rope,
                       I64Attr:$k);
  let results = (outs AnyMemRef:$result);
  let assemblyFormat = "`` $part $sources (`pack` $pack^)? (`coding` $coding^)? (`rope` $rope^)? `k` $k attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def Kern_BufferOp : Kern_Op<"buffer", [MemoryEffects<[MemAlloc]>]> {
  let summary = "activations between two kernels: one row a unit";
  let description = [{
    `kern-plan-memory` gives it a slot; buffers whose lives do not overlap share one. The logits are a buffer of their own, outside the slots.

    ```mlir
    %x = kern.buffer rows slot 0 : memref<?x576xf32>
    ```
  }];
  let arguments = (ins Kern_UnitAttr:$unit, OptionalAttr<I64Attr>:$slot, UnitAttr:$logits);
  let results = (outs AnyMemRef:$result);
  let assemblyFormat = "`` $unit (`slot` $slot^)? (`logits` $logits^)? attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def Kern_KvOp : Kern_Op<"kv", [Pure]> {
  let summary = "the pages of one layer's keys [page][head][dim][position] or values [page][head][position][dim]";
  let description = [{
    On a GPU it is the other way round: keys [page][head][position][dim], values [page][head][dim][position], so that both are operands of mma as they stand. In i8 there: keys
    [page][head][dim + 8][position], values [page][head][dim][position], s8 permuted as runtime/device/attention.cuh says; behind the keys' codes, the scales of the keys and of the values.
    In i8 on a CPU: keys [page][head][dim/4 + 2][position][4], codes as u8 = s8 + 128, where the last two quads of a position are f32, the scale of its key and the scale of its
    value; values [page][head][position/4][dim][4], codes as s8.

    ```mlir
    %k = kern.kv 0 keys : memref<?x3x64x32xbf16>
    %v = kern.kv 1 : memref<?x3x8x64x4xi8>
    ```
  }];
  let arguments = (ins I64Attr:$layer, UnitAttr:$keys);
  let results = (outs AnyMemRef:$result);
  let assemblyFormat = "$layer (`keys` $keys^)? attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def Kern_LaunchOp : Kern_Op<"launch", [DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "runs a kernel over all its units and tiles, after all launches before it";
  let description = [{
    The kernel stands in each tier's module beside the host program, with the operands' types as its arguments'.

    ```mlir
    kern.launch @attention(%q, %k, %v, %a) : memref<?x576xf32>, memref<?x3x64x32xf32>, memref<?x3x32x64xf32>, memref<?x576xf32>
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$kernel, Variadic<AnyMemRef>:$operands);
  let assemblyFormat = "$kernel `(` $operands `)` attr-dict `:` type($operands)";
}

#endif // LATHE_KERN_OPS
