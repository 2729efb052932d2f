//===- LmOps.td - whole tensors, model words, every op pure ---------------===//
//
// The dialect of models: what a transformer step computes, with no word about how.
// dialects/lm/README.md gives the reasons. `compiler/Reference` executes every op; where a text here and the
// reference disagree, one of them has a defect.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_LM_OPS
#define LATHE_LM_OPS

include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/BuiltinAttributeInterfaces.td"
include "mlir/IR/EnumAttr.td"
include "mlir/IR/OpBase.td"
include "mlir/Interfaces/ControlFlowInterfaces.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

def Lm_Dialect : Dialect {
  let name = "lm";
  let cppNamespace = "::lathe::lm";
  let summary = "Transformer models as whole tensors";
  let description = [{
    A step is one function: it takes a `!lm.batch` (which rows belong to which sequence and
    position), one `!lm.kv` a layer, and gives the logits of the selected rows and the new KV
    values. The number of rows stays `?`. Every op is pure; a KV cache is a value threaded through.
  }];
  let useDefaultTypePrinterParser = 1;
  let useDefaultAttributePrinterParser = 1;
}

//===----------------------------------------------------------------------===//
// Types and attributes
//===----------------------------------------------------------------------===//

class Lm_Type<string name, string mnem> : TypeDef<Lm_Dialect, name> { let mnemonic = mnem; }

def Lm_Batch : Lm_Type<"Batch", "batch"> {
  let summary = "the rows of one step: per row its sequence, position and KV slot; per sequence its pages; the rows whose logits are wanted";
}

def Lm_Kv : Lm_Type<"Kv", "kv"> {
  let summary = "the keys and values of one layer, in pages";
  let description = [{
    `!lm.kv<heads = 3, dim = 64, page = 32, element = bf16>`: `page` positions a page. A value read
    from it has been rounded to `element`, also within the step that wrote it.
  }];
  let parameters = (ins "int64_t":$heads, "int64_t":$dim, "int64_t":$page, "::mlir::Type":$element);
  let assemblyFormat = "`<` struct(params) `>`";
  let genVerifyDecl = 1;
}

def Lm_QuantMethod : I32EnumAttr<"QuantMethod", "where codes and scales come from",
    [I32EnumAttrCase<"absmax", 0>, I32EnumAttrCase<"search", 1>, I32EnumAttrCase<"kept", 2>]> { let cppNamespace = "::lathe::lm"; let genSpecializedAttr = 0; }

def Lm_Quant : AttrDef<Lm_Dialect, "Quant"> {
  let mnemonic = "quant";
  let summary = "encoding of a tensor quantised in groups along its last dimension";
  let description = [{
    `tensor<576x1536xi8, #lm.quant<group = 64, scale = bf16>>`: value = scale * (code - bias) + minimum, one scale (and minimum) a row and group, the last group may
    be short. Codes of i8 are signed, those of i4 and i6 are not. `method`:

    absmax: bias 0, no minimum. Scale is absmax/127, rounded to `scale`'s type away from zero, before q = clamp(round-half-even(x / scale), -127, 127). A group of zeros has
    scale 0 and codes 0.
    search: scale and minimum that make the error small (compiler/Quantizer.h).
    kept: the blocks of the model's file (BlockFormat in compiler/Weights.h). With `super`, scale and minimum are those of `super` elements times a small integer of the group.
  }];
  let parameters = (ins "int64_t":$group, "::mlir::Type":$scale, DefaultValuedParameter<"int64_t", "0">:$bias, DefaultValuedParameter<"bool", "false">:$minimum,
                        DefaultValuedParameter<"int64_t", "0">:$super,
                        DefaultValuedParameter<"::lathe::lm::QuantMethod", "::lathe::lm::QuantMethod::absmax">:$method);
  let assemblyFormat = "`<` struct(params) `>`";
  let genVerifyDecl = 1;
}

def Lm_Rope : AttrDef<Lm_Dialect, "Rope"> {
  let mnemonic = "rope";
  let summary = "a rotary embedding: layout, base and scaling (Hugging Face modeling_rope_utils.py)";
  let description = [{
    `#lm.rope<layout = half, theta = 1.0e4, type = "llama3", params = {factor = 8.0, ...}>`. `layout` half pairs x[j] with x[j + dim/2], interleaved x[2j] with
    x[2j + 1]. `params` holds the named numbers of the scaling type as f64: linear {factor}; llama3 {factor, low_freq_factor, high_freq_factor,
    original_max_position_embeddings}; yarn {factor, beta_fast, beta_slow, attention_factor, original_max_position_embeddings, truncate}.
  }];
  let parameters = (ins "::lathe::lm::RopeLayout":$layout, "::mlir::FloatAttr":$theta, "::mlir::StringAttr":$type, "::mlir::DictionaryAttr":$params);
  let assemblyFormat = "`<` struct(params) `>`";
  let genVerifyDecl = 1;
}

// An enumeration prints a space before its word: a `` before it in a format takes the format's own away.
def Lm_RopeLayout : I32EnumAttr<"RopeLayout", "which elements rotate together",
    [I32EnumAttrCase<"half", 0>, I32EnumAttrCase<"interleaved", 1>]> { let cppNamespace = "::lathe::lm"; let genSpecializedAttr = 0; }
def Lm_NormKind : I32EnumAttr<"NormKind", "how a norm centres and scales",
    [I32EnumAttrCase<"rms", 0>, I32EnumAttrCase<"layer", 1>]> { let cppNamespace = "::lathe::lm"; let genSpecializedAttr = 0; }
def Lm_NormKindAttr : EnumAttr<Lm_Dialect, Lm_NormKind, "norm_kind">;
def Lm_ActivationKind : I32EnumAttr<"ActivationKind", "an elementwise nonlinearity",
    [I32EnumAttrCase<"silu", 0>, I32EnumAttrCase<"gelu", 1>, I32EnumAttrCase<"gelu_tanh", 2>, I32EnumAttrCase<"relu", 3>]> { let cppNamespace = "::lathe::lm"; let genSpecializedAttr = 0; }
def Lm_ActivationKindAttr : EnumAttr<Lm_Dialect, Lm_ActivationKind, "activation_kind">;
def Lm_MaskKind : I32EnumAttr<"MaskKind", "which positions a row sees",
    [I32EnumAttrCase<"causal", 0>, I32EnumAttrCase<"window", 1>]> { let cppNamespace = "::lathe::lm"; let genSpecializedAttr = 0; }
def Lm_MaskKindAttr : EnumAttr<Lm_Dialect, Lm_MaskKind, "mask_kind">;

def Lm_Tensor : AnyTypeOf<[AnyRankedTensor]>;

//===----------------------------------------------------------------------===//
// Fusion roles
//===----------------------------------------------------------------------===//

def Lm_FusableInterface : OpInterface<"FusableOpInterface"> {
  let cppNamespace = "::lathe::lm";
  let description = [{
    What an op may be inside `lm.fused`. A region has at most one anchor. An epilogue's span is the number of
    neighbouring columns of the anchor's result that it needs together: 1 for elementwise, a head for rope over heads or
    a per-head norm, 0 for a whole row (which is refused as an epilogue).
  }];
  let methods = [InterfaceMethod<"what it may be and how many columns it needs together", "::lathe::lm::FusionRole", "fusionRole", (ins)>,
  ];
}

//===----------------------------------------------------------------------===//
// Ops
//===----------------------------------------------------------------------===//

class Lm_Op<string mnemonic, list<Trait> traits = []> : Op<Lm_Dialect, mnemonic, traits>;
def Lm_Fusable : DeclareOpInterfaceMethods<Lm_FusableInterface>;

def Lm_WeightOp : Lm_Op<"weight", [Pure]> {
  let summary = "a named weight of the model";
  let description = [{
    Weights never enter the IR. With a quantised result type the named float tensor is quantised as `#lm.quant` says; in bf16 or f16 each value is the nearest, ties
    to even. `stored` is the element of a matrix that its file has in fewer bits than f32.

    ```mlir
    %wq = lm.weight "model.layers.0.self_attn.q_proj.weight" : tensor<576x576xf32>
    %wk = lm.weight "model.layers.0.self_attn.k_proj.weight" stored "Q4_1" : tensor<192x576xf32>
    ```
  }];
  let arguments = (ins StrAttr:$source, OptionalAttr<StrAttr>:$stored);
  let results = (outs Lm_Tensor:$result);
  let assemblyFormat = "$source (`stored` $stored^)? attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def Lm_StackOp : Lm_Op<"stack", [Pure]> {
  let summary = "weights stacked along their rows (the output features of a linear)";
  let description = [{
    Without `interleave` the rows follow one another. With `interleave n`, n rows of each input alternate (all inputs have equal shapes): with 32 and inputs
    gate and up, rows are gate 0..31, up 0..31, gate 32..63, … A short last block is interleaved as it is.

    ```mlir
    %w = lm.stack %wq, %wk, %wv : (tensor<576x576xf32>, tensor<192x576xf32>, tensor<192x576xf32>) -> tensor<960x576xf32>
    ```
  }];
  let arguments = (ins Variadic<Lm_Tensor>:$inputs, OptionalAttr<I64Attr>:$interleave);
  let results = (outs Lm_Tensor:$result);
  let assemblyFormat = "$inputs (`interleave` $interleave^)? attr-dict `:` functional-type($inputs, $result)";
  let hasVerifier = 1;
}

def Lm_EmbedOp : Lm_Op<"embed", [Pure, Lm_Fusable]> {
  let summary = "one row of the table for each token of the batch";
  let description = [{
    ```mlir
    %x = lm.embed %table at %batch : tensor<49152x576xf32> -> tensor<?x576xf32>
    ```
  }];
  let arguments = (ins Lm_Tensor:$table, Lm_Batch:$batch);
  let results = (outs Lm_Tensor:$result);
  let assemblyFormat = "$table `at` $batch attr-dict `:` type($table) `->` type($result)";
  let hasVerifier = 1;
}

def Lm_SelectRowsOp : Lm_Op<"select_rows", [Pure, AllTypesMatch<["input", "result"]>, Lm_Fusable]> {
  let summary = "the rows whose logits are wanted";
  let description = [{
    ```mlir
    %last = lm.select_rows %x at %batch : tensor<?x576xf32>
    ```
  }];
  let arguments = (ins Lm_Tensor:$input, Lm_Batch:$batch);
  let results = (outs Lm_Tensor:$result);
  let assemblyFormat = "$input `at` $batch attr-dict `:` type($result)";
  let builders = [OpBuilder<(ins "::mlir::Value":$input, "::mlir::Value":$batch), [{ build($_builder, $_state, input.getType(), input, batch); }]>];
  let hasVerifier = 1;
}

def Lm_NormOp : Lm_Op<"norm", [Pure, Lm_Fusable]> {
  let summary = "root-mean-square or layer norm of each row, or of each group of `per` columns";
  let description = [{
    rms: x * rsqrt(mean(x²) + eps) * gain. layer: (x - mean) * rsqrt(mean((x - mean)²) + eps) * gain + bias.
    With `per n` each group of n columns is a row of its own and gain has n elements (q/k norm over heads).

    ```mlir
    %n = lm.norm rms %x, %gain eps 1.0e-5 : tensor<?x576xf32>, tensor<576xf32> -> tensor<?x576xf32>
    ```
  }];
  let arguments = (ins Lm_NormKindAttr:$kind, Lm_Tensor:$input, Lm_Tensor:$gain, Optional<Lm_Tensor>:$bias, F64Attr:$eps, OptionalAttr<I64Attr>:$per);
  let results = (outs Lm_Tensor:$result);
  let assemblyFormat = [{ `` $kind $input `,` $gain (`bias` $bias^)? `eps` $eps (`per` $per^)? attr-dict `:` type($input) `,` type($gain) (`,` type($bias)^)?
                          `->` type($result) }];
  let hasVerifier = 1;
}

def Lm_LinearOp : Lm_Op<"linear", [Pure, Lm_Fusable]> {
  let summary = "y = x Wᵀ + b";
  let description = [{
    `W` is [out, in]; in bf16 or f16 it means the same values in f32. With quantised operands both have the same group: y = Σ over groups of sx * sw * Σ qx qw, the inner sum exact, the groups added in order.

    ```mlir
    %q = lm.linear %n, %wq : (tensor<?x576xf32>, tensor<576x576xf32>) -> tensor<?x576xf32>
    %k = lm.linear %n, %wk bias %bk : (tensor<?x576xf32>, tensor<192x576xf32>, tensor<192xf32>) -> tensor<?x192xf32>
    ```
  }];
  let arguments = (ins Lm_Tensor:$input, Lm_Tensor:$weight, Optional<Lm_Tensor>:$bias);
  let results = (outs Lm_Tensor:$result);
  let assemblyFormat = "$input `,` $weight (`bias` $bias^)? attr-dict `:` functional-type(operands, $result)";
  let hasVerifier = 1;
}

def Lm_SplitOp : Lm_Op<"split", [Pure, Lm_Fusable]> {
  let summary = "columns of a tensor, in order (or alternating, the inverse of an interleaved stack)";
  let description = [{
    ```mlir
    %q, %k, %v = lm.split %qkv : tensor<?x960xf32> -> tensor<?x576xf32>, tensor<?x192xf32>, tensor<?x192xf32>
    ```
  }];
  let arguments = (ins Lm_Tensor:$input, OptionalAttr<I64Attr>:$interleave);
  let results = (outs Variadic<Lm_Tensor>:$results);
  let assemblyFormat = "$input (`interleave` $interleave^)? attr-dict `:` type($input) `->` type($results)";
  let hasVerifier = 1;
}

def Lm_QuantizeOp : Lm_Op<"quantize", [Pure, Lm_Fusable]> {
  let summary = "activations to 8 bits in groups along the row, as #lm.quant of the result says";
  let description = [{
    ```mlir
    %nq = lm.quantize %n : tensor<?x576xf32> -> tensor<?x576xi8, #lm.quant<group = 64, scale = f32>>
    ```
  }];
  let arguments = (ins Lm_Tensor:$input);
  let results = (outs Lm_Tensor:$result);
  let assemblyFormat = "$input attr-dict `:` type($input) `->` type($result)";
  let hasVerifier = 1;
}

def Lm_RopeOp : Lm_Op<"rope", [Pure, AllTypesMatch<["input", "result"]>, Lm_Fusable]> {
  let summary = "rotates pairs of each head by an angle that grows with the row's position";
  let description = [{
    (a, b) of pair j becomes (a cos t - b sin t, b cos t + a sin t), t = position * inverse frequency j. The first operand's columns are heads of `dim` columns.

    ```mlir
    %qr = lm.rope %q at %batch dim 64 by <layout = half, theta = 1.0e4, type = "default", params = {}> : tensor<?x576xf32>
    ```
  }];
  let arguments = (ins Lm_Tensor:$input, Lm_Batch:$batch, I64Attr:$dim, Lm_Rope:$rope);
  let results = (outs Lm_Tensor:$result);
  let assemblyFormat = "$input `at` $batch `dim` $dim `by` $rope attr-dict `:` type($result)";
  let builders = [OpBuilder<(ins "::mlir::Value":$input, "::mlir::Value":$batch, "int64_t":$dim, "RopeAttr":$rope), [{
    build($_builder, $_state, input.getType(), input, batch, $_builder.getI64IntegerAttr(dim), rope); }]>];
  let hasVerifier = 1;
}

def Lm_KvAppendOp : Lm_Op<"kv_append", [Pure, AllTypesMatch<["kv", "result"]>, Lm_Fusable]> {
  let summary = "the keys and values of this step's rows, rounded and put into their slots";
  let description = [{
    ```mlir
    %kv1 = lm.kv_append %kr, %v into %kv at %batch : tensor<?x192xf32>, tensor<?x192xf32>, !lm.kv<heads = 3, dim = 64, page = 32, element = f32>
    ```
  }];
  let arguments = (ins Lm_Tensor:$key, Lm_Tensor:$value, Lm_Kv:$kv, Lm_Batch:$batch);
  let results = (outs Lm_Kv:$result);
  let assemblyFormat = "$key `,` $value `into` $kv `at` $batch attr-dict `:` type($key) `,` type($value) `,` type($kv)";
  let hasVerifier = 1;
}

def Lm_AttentionOp : Lm_Op<"attention", [Pure, Lm_Fusable]> {
  let summary = "softmax(q kᵀ * scale + mask) v over the pages of the row's sequence";
  let description = [{
    Query head h reads KV head h / (query heads / KV heads). `causal`: a row at position p sees positions 0..p;
    `window w`: the last w of those, p itself included.

    ```mlir
    %a = lm.attention %qr over %kv1 at %batch scale 1.25e-1 causal : tensor<?x576xf32>, !lm.kv<heads = 3, dim = 64, page = 32, element = f32> -> tensor<?x576xf32>
    ```
  }];
  let arguments = (ins Lm_Tensor:$query, Lm_Kv:$kv, Lm_Batch:$batch, F64Attr:$scale, Lm_MaskKindAttr:$mask, OptionalAttr<I64Attr>:$window);
  let results = (outs Lm_Tensor:$result);
  let assemblyFormat = "$query `over` $kv `at` $batch `scale` $scale `` $mask ($window^)? attr-dict `:` type($query) `,` type($kv) `->` type($result)";
  let hasVerifier = 1;
}

def Lm_GatedOp : Lm_Op<"gated", [Pure, SameOperandsAndResultType, Lm_Fusable]> {
  let summary = "activation(gate) * up";
  let description = [{
    ```mlir
    %h = lm.gated silu %gate, %up : tensor<?x1536xf32>
    ```
  }];
  let arguments = (ins Lm_ActivationKindAttr:$kind, Lm_Tensor:$gate, Lm_Tensor:$up);
  let results = (outs Lm_Tensor:$result);
  let assemblyFormat = "`` $kind $gate `,` $up attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def Lm_YieldOp : Lm_Op<"yield", [Pure, Terminator, ReturnLike, HasParent<"FusedOp">]> {
  let summary = "the results of an lm.fused region";
  let arguments = (ins Variadic<AnyType>:$values);
  let assemblyFormat = "attr-dict ($values^ `:` type($values))?";
}

def Lm_FusedOp : Lm_Op<"fused", [Pure, SingleBlock, NoRegionArguments]> {
  let summary = "ops that become one kernel";
  let description = [{
    At most one anchor; ops before it are prologues, ops after it epilogues, all by FusableOpInterface (arith ops on tensors are elementwise, so either).
    Values from outside are captured. The name is what the kernel will be called.

    ```mlir
    %q1 = lm.fused "norm_linear" {
      %n = lm.norm rms %x, %gain eps 1.0e-5 : tensor<?x576xf32>, tensor<576xf32> -> tensor<?x576xf32>
      %y = lm.linear %n, %w : (tensor<?x576xf32>, tensor<960x576xf32>) -> tensor<?x960xf32>
      lm.yield %y : tensor<?x960xf32>
    } : tensor<?x960xf32>
    ```
  }];
  let arguments = (ins StrAttr:$name);
  let results = (outs Variadic<AnyType>:$results);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$name $body attr-dict (`:` type($results)^)?";
  let hasRegionVerifier = 1;
}

#endif // LATHE_LM_OPS
