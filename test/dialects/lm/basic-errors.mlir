// Every message of the lm verifiers.
// RUN: lathe-opt %s --split-input-file --verify-diagnostics

//===--- types and attributes ---===//

// expected-error@below {{expected heads and dim from 1 to 65536, found 0 and 64}}
func.func private @kv_heads(!lm.kv<heads = 0, dim = 64, page = 32, element = f32>)

// -----

// expected-error@below {{expected heads and dim from 1 to 65536, found 4 and 4294967296}}
func.func private @kv_dim(!lm.kv<heads = 4, dim = 4294967296, page = 32, element = f32>)

// -----

// expected-error@below {{expected a page of a multiple of 16 positions up to 65536, found 24}}
func.func private @kv_page(!lm.kv<heads = 3, dim = 64, page = 24, element = f32>)

// -----

// expected-error@below {{expected element f32, bf16 or i8, found 'f16'}}
func.func private @kv_element(!lm.kv<heads = 3, dim = 64, page = 32, element = f16>)

// -----

// expected-error@below {{expected a group of a positive multiple of 4 elements up to 65536, found 30}}
func.func private @quant_group(tensor<?x576xi8, #lm.quant<group = 30, scale = f32>>)

// -----

// expected-error@below {{expected scale f32, bf16 or f16, found 'f64'}}
func.func private @quant_scale(tensor<?x576xi8, #lm.quant<group = 32, scale = f64>>)

// -----

// expected-error@below {{expected a positive f64 theta, found 0.000000e+00 : f64}}
#rope = #lm.rope<layout = half, theta = 0.0, type = "default", params = {}>

// -----

// expected-error@below {{expected 1 params for rope type linear, found 0}}
#rope = #lm.rope<layout = half, theta = 1.0e4, type = "linear", params = {}>

// -----

// expected-error@below {{expected an f64 param 'factor' for rope type linear}}
#rope = #lm.rope<layout = half, theta = 1.0e4, type = "linear", params = {factor = 2 : i64}>

// -----

// expected-error@below {{expected rope type default, linear, llama3 or yarn, found "longrope"}}
#rope = #lm.rope<layout = half, theta = 1.0e4, type = "longrope", params = {}>

// -----

//===--- weights ---===//

func.func @weight_rank() {
  // expected-error@below {{expected a static shape of one or two dimensions, two when quantised, found 'tensor<2x3x4xf32>'}}
  %w = lm.weight "w" : tensor<2x3x4xf32>
  return
}

// -----

func.func @weight_dynamic() {
  // expected-error@below {{expected a static shape of one or two dimensions, two when quantised, found 'tensor<?x4xf32>'}}
  %w = lm.weight "w" : tensor<?x4xf32>
  return
}

// -----

func.func @weight_quantised_vector() {
  // expected-error@below {{expected a static shape of one or two dimensions, two when quantised, found 'tensor<64xi8, #lm.quant<group = 32, scale = f32>>'}}
  %w = lm.weight "w" : tensor<64xi8, #lm.quant<group = 32, scale = f32>>
  return
}

// -----

func.func @weight_element() {
  // expected-error@below {{expected f32, bf16 or f16 elements, or i8, i6 or i4 with #lm.quant, found 'tensor<64x64xi8>'}}
  %w = lm.weight "w" : tensor<64x64xi8>
  return
}

// -----

func.func @stack_nothing() {
  // expected-error@below {{expected at least one input}}
  %w = "lm.stack"() : () -> tensor<64x64xf32>
  return
}

// -----

func.func @stack_widths(%a: tensor<64x64xf32>, %b: tensor<64x32xf32>) {
  // expected-error@below {{expected inputs of equal width and element, found 'tensor<64x64xf32>' and 'tensor<64x32xf32>'}}
  %w = lm.stack %a, %b : (tensor<64x64xf32>, tensor<64x32xf32>) -> tensor<128x64xf32>
  return
}

// -----

func.func @stack_encodings(%a: tensor<64x64xi8, #lm.quant<group = 32, scale = f32>>, %b: tensor<64x64xi8, #lm.quant<group = 64, scale = f32>>) {
  // expected-error@below {{expected inputs of equal width and element, found}}
  %w = lm.stack %a, %b : (tensor<64x64xi8, #lm.quant<group = 32, scale = f32>>, tensor<64x64xi8, #lm.quant<group = 64, scale = f32>>) -> tensor<128x64xi8, #lm.quant<group = 32, scale = f32>>
  return
}

// -----

func.func @stack_interleave_shapes(%a: tensor<64x64xf32>, %b: tensor<32x64xf32>) {
  // expected-error@below {{expected equal shapes to interleave, found 'tensor<64x64xf32>' and 'tensor<32x64xf32>'}}
  %w = lm.stack %a, %b interleave 16 : (tensor<64x64xf32>, tensor<32x64xf32>) -> tensor<96x64xf32>
  return
}

// -----

func.func @stack_interleave(%a: tensor<64x64xf32>) {
  // expected-error@below {{expected a positive interleave, found -1}}
  %w = lm.stack %a, %a interleave -1 : (tensor<64x64xf32>, tensor<64x64xf32>) -> tensor<128x64xf32>
  return
}

// -----

func.func @stack_result(%a: tensor<64x64xf32>) {
  // expected-error@below {{expected a result of 128 rows like the inputs, found 'tensor<64x64xf32>'}}
  %w = lm.stack %a, %a : (tensor<64x64xf32>, tensor<64x64xf32>) -> tensor<64x64xf32>
  return
}

// -----

func.func @stack_input(%a: tensor<?x64xf32>) {
  // expected-error@below {{expected a static shape of one or two dimensions}}
  %w = lm.stack %a, %a : (tensor<?x64xf32>, tensor<?x64xf32>) -> tensor<128x64xf32>
  return
}

// -----

//===--- ops on rows ---===//

func.func @embed_result(%batch: !lm.batch, %table: tensor<512x64xf32>) {
  // expected-error@below {{expected a result of shape [?, width], found 'tensor<4x64xf32>'}}
  %x = lm.embed %table at %batch : tensor<512x64xf32> -> tensor<4x64xf32>
  return
}

// -----

func.func @embed_table_rank(%batch: !lm.batch, %table: tensor<f32>) {
  // expected-error@below {{expected a static shape of one or two dimensions}}
  %x = lm.embed %table at %batch : tensor<f32> -> tensor<?x64xf32>
  return
}

// -----

func.func @embed_table(%batch: !lm.batch, %table: tensor<512x32xf32>) {
  // expected-error@below {{expected a table of width 64, found 'tensor<512x32xf32>'}}
  %x = lm.embed %table at %batch : tensor<512x32xf32> -> tensor<?x64xf32>
  return
}

// -----

func.func @select_rows(%batch: !lm.batch, %x: tensor<?x64xi8, #lm.quant<group = 32, scale = f32>>) {
  // expected-error@below {{expected an input in f32, found 'tensor<?x64xi8, #lm.quant<group = 32, scale = f32>>'}}
  %y = lm.select_rows %x at %batch : tensor<?x64xi8, #lm.quant<group = 32, scale = f32>>
  return
}

// -----

func.func @norm_input(%x: tensor<64xf32>, %g: tensor<64xf32>) {
  // expected-error@below {{expected an input of shape [?, width], found 'tensor<64xf32>'}}
  %n = lm.norm rms %x, %g eps 1.0e-5 : tensor<64xf32>, tensor<64xf32> -> tensor<64xf32>
  return
}

// -----

func.func @norm_result(%x: tensor<?x64xf32>, %g: tensor<64xf32>) {
  // expected-error@below {{expected the result's type to be the input's, 'tensor<?x64xf32>', found 'tensor<?x32xf32>'}}
  %n = lm.norm rms %x, %g eps 1.0e-5 : tensor<?x64xf32>, tensor<64xf32> -> tensor<?x32xf32>
  return
}

// -----

func.func @norm_per(%x: tensor<?x64xf32>, %g: tensor<24xf32>) {
  // expected-error@below {{expected 'per' to divide the width 64, found 24}}
  %n = lm.norm rms %x, %g eps 1.0e-5 per 24 : tensor<?x64xf32>, tensor<24xf32> -> tensor<?x64xf32>
  return
}

// -----

func.func @norm_per_negative(%x: tensor<?x64xf32>, %g: tensor<32xf32>) {
  // expected-error@below {{expected 'per' to divide the width 64, found -32}}
  %n = lm.norm rms %x, %g eps 1.0e-5 per -32 : tensor<?x64xf32>, tensor<32xf32> -> tensor<?x64xf32>
  return
}

// -----

func.func @norm_gain(%x: tensor<?x64xf32>, %g: tensor<32xf32>) {
  // expected-error@below {{expected a gain of 64 f32 elements, found 'tensor<32xf32>'}}
  %n = lm.norm rms %x, %g eps 1.0e-5 : tensor<?x64xf32>, tensor<32xf32> -> tensor<?x64xf32>
  return
}

// -----

func.func @norm_bias(%x: tensor<?x64xf32>, %g: tensor<64xf32>, %b: tensor<1x64xf32>) {
  // expected-error@below {{expected a bias of 64 f32 elements, found 'tensor<1x64xf32>'}}
  %n = lm.norm layer %x, %g bias %b eps 1.0e-5 : tensor<?x64xf32>, tensor<64xf32>, tensor<1x64xf32> -> tensor<?x64xf32>
  return
}

// -----

func.func @norm_rms_bias(%x: tensor<?x64xf32>, %g: tensor<64xf32>) {
  // expected-error@below {{expected no bias on an rms norm}}
  %n = lm.norm rms %x, %g bias %g eps 1.0e-5 : tensor<?x64xf32>, tensor<64xf32>, tensor<64xf32> -> tensor<?x64xf32>
  return
}

// -----

func.func @linear_input(%x: tensor<?x64xf16>, %w: tensor<32x64xf32>) {
  // expected-error@below {{expected an input in f32, or i8 with #lm.quant, found 'tensor<?x64xf16>'}}
  %y = lm.linear %x, %w : (tensor<?x64xf16>, tensor<32x64xf32>) -> tensor<?x32xf32>
  return
}

// -----

func.func @linear_weight(%x: tensor<?x64xf32>, %w: tensor<64x32xf32>) {
  // expected-error@below {{expected a weight of shape [32, 64], found 'tensor<64x32xf32>'}}
  %y = lm.linear %x, %w : (tensor<?x64xf32>, tensor<64x32xf32>) -> tensor<?x32xf32>
  return
}

// -----

func.func @linear_half_quantised(%x: tensor<?x64xi8, #lm.quant<group = 32, scale = f32>>, %w: tensor<32x64xf32>) {
  // expected-error@below {{expected input and weight quantised in groups of which one divides the other, or an input in floats, found 'tensor<?x64xi8, #lm.quant<group = 32, scale = f32>>' and 'tensor<32x64xf32>'}}
  %y = lm.linear %x, %w : (tensor<?x64xi8, #lm.quant<group = 32, scale = f32>>, tensor<32x64xf32>) -> tensor<?x32xf32>
  return
}

// -----

func.func @linear_groups(%x: tensor<?x64xi8, #lm.quant<group = 64, scale = f32>>, %w: tensor<32x64xi8, #lm.quant<group = 48, scale = f32>>) {
  // expected-error@below {{expected input and weight quantised in groups of which one divides the other, or an input in floats}}
  %y = lm.linear %x, %w : (tensor<?x64xi8, #lm.quant<group = 64, scale = f32>>, tensor<32x64xi8, #lm.quant<group = 48, scale = f32>>) -> tensor<?x32xf32>
  return
}

// -----

func.func @linear_bias(%x: tensor<?x64xf32>, %w: tensor<32x64xf32>, %b: tensor<64xf32>) {
  // expected-error@below {{expected a bias of 32 f32 elements, found 'tensor<64xf32>'}}
  %y = lm.linear %x, %w bias %b : (tensor<?x64xf32>, tensor<32x64xf32>, tensor<64xf32>) -> tensor<?x32xf32>
  return
}

// -----

func.func @split_results(%x: tensor<?x64xf32>) {
  // expected-error@below {{expected results of shape [?, width], found 'tensor<4x32xf32>'}}
  %a, %b = lm.split %x : tensor<?x64xf32> -> tensor<4x32xf32>, tensor<?x32xf32>
  return
}

// -----

func.func @split_unequal(%x: tensor<?x64xf32>) {
  // expected-error@below {{expected equal results to undo an interleaved stack, found 'tensor<?x16xf32>'}}
  %a, %b = lm.split %x interleave 16 : tensor<?x64xf32> -> tensor<?x48xf32>, tensor<?x16xf32>
  return
}

// -----

func.func @split_interleave(%x: tensor<?x64xf32>) {
  // expected-error@below {{expected a positive interleave, found -16}}
  %a, %b = lm.split %x interleave -16 : tensor<?x64xf32> -> tensor<?x32xf32>, tensor<?x32xf32>
  return
}

// -----

func.func @split_sum(%x: tensor<?x64xf32>) {
  // expected-error@below {{expected results of 64 columns together, found 48}}
  %a, %b = lm.split %x : tensor<?x64xf32> -> tensor<?x32xf32>, tensor<?x16xf32>
  return
}

// -----

func.func @quantize(%x: tensor<?x64xf32>) {
  // expected-error@below {{expected a result of the input's shape in i8 with #lm.quant of method absmax, found 'tensor<?x64xi8>'}}
  %q = lm.quantize %x : tensor<?x64xf32> -> tensor<?x64xi8>
  return
}

// -----

func.func @gated(%x: tensor<4x64xf32>) {
  // expected-error@below {{expected a gate of shape [?, width], found 'tensor<4x64xf32>'}}
  %h = lm.gated silu %x, %x : tensor<4x64xf32>
  return
}

// -----

//===--- attention ---===//

func.func @rope_dim(%batch: !lm.batch, %x: tensor<?x64xf32>) {
  // expected-error@below {{expected an even dim that divides the width 64, found 24}}
  %r = lm.rope %x at %batch dim 24 by <layout = half, theta = 1.0e4, type = "default", params = {}> : tensor<?x64xf32>
  return
}

// -----

func.func @append_width(%batch: !lm.batch, %k: tensor<?x64xf32>, %kv: !lm.kv<heads = 3, dim = 64, page = 32, element = f32>) {
  // expected-error@below {{expected 192 columns for '!lm.kv<heads = 3, dim = 64, page = 32, element = f32>', found 'tensor<?x64xf32>'}}
  %kv1 = lm.kv_append %k, %k into %kv at %batch : tensor<?x64xf32>, tensor<?x64xf32>, !lm.kv<heads = 3, dim = 64, page = 32, element = f32>
  return
}

// -----

func.func @append_rows(%batch: !lm.batch, %k: tensor<4x192xf32>, %kv: !lm.kv<heads = 3, dim = 64, page = 32, element = f32>) {
  // expected-error@below {{expected keys and values of shape [?, width], found 'tensor<4x192xf32>'}}
  %kv1 = lm.kv_append %k, %k into %kv at %batch : tensor<4x192xf32>, tensor<4x192xf32>, !lm.kv<heads = 3, dim = 64, page = 32, element = f32>
  return
}

// -----

func.func @attention_query(%batch: !lm.batch, %q: tensor<576xf32>, %kv: !lm.kv<heads = 3, dim = 64, page = 32, element = f32>) {
  // expected-error@below {{expected a query of shape [?, width], found 'tensor<576xf32>'}}
  %a = lm.attention %q over %kv at %batch scale 1.25e-1 causal : tensor<576xf32>, !lm.kv<heads = 3, dim = 64, page = 32, element = f32> -> tensor<576xf32>
  return
}

// -----

func.func @attention_result(%batch: !lm.batch, %q: tensor<?x576xf32>, %kv: !lm.kv<heads = 3, dim = 64, page = 32, element = f32>) {
  // expected-error@below {{expected the result's type to be the query's, 'tensor<?x576xf32>', found 'tensor<?x192xf32>'}}
  %a = lm.attention %q over %kv at %batch scale 1.25e-1 causal : tensor<?x576xf32>, !lm.kv<heads = 3, dim = 64, page = 32, element = f32> -> tensor<?x192xf32>
  return
}

// -----

func.func @attention_heads(%batch: !lm.batch, %q: tensor<?x256xf32>, %kv: !lm.kv<heads = 3, dim = 64, page = 32, element = f32>) {
  // expected-error@below {{expected a query of a multiple of 3 heads of 64 columns, found 'tensor<?x256xf32>'}}
  %a = lm.attention %q over %kv at %batch scale 1.25e-1 causal : tensor<?x256xf32>, !lm.kv<heads = 3, dim = 64, page = 32, element = f32> -> tensor<?x256xf32>
  return
}

// -----

func.func @attention_window(%batch: !lm.batch, %q: tensor<?x576xf32>, %kv: !lm.kv<heads = 3, dim = 64, page = 32, element = f32>) {
  // expected-error@below {{expected a positive window with mask 'window' and only there}}
  %a = lm.attention %q over %kv at %batch scale 1.25e-1 window : tensor<?x576xf32>, !lm.kv<heads = 3, dim = 64, page = 32, element = f32> -> tensor<?x576xf32>
  return
}

// -----

func.func @attention_window_negative(%batch: !lm.batch, %q: tensor<?x576xf32>, %kv: !lm.kv<heads = 3, dim = 64, page = 32, element = f32>) {
  // expected-error@below {{expected a positive window with mask 'window' and only there}}
  %a = lm.attention %q over %kv at %batch scale 1.25e-1 window -12 : tensor<?x576xf32>, !lm.kv<heads = 3, dim = 64, page = 32, element = f32> -> tensor<?x576xf32>
  return
}

// -----

//===--- fusion ---===//

func.func @fused_yield(%x: tensor<?x64xf32>) {
  // expected-error@below {{expected an lm.yield of the results' types}}
  %y = lm.fused "nothing" {
    lm.yield
  } : tensor<?x64xf32>
  return
}

// -----

func.func @fused_op() {
  // expected-error@below {{expected ops that can be fused, found lm.weight}}
  %y = lm.fused "weight" {
    %w = lm.weight "w" : tensor<64x64xf32>
    lm.yield %w : tensor<64x64xf32>
  } : tensor<64x64xf32>
  return
}

// -----

func.func @fused_two_anchors(%x: tensor<?x64xf32>, %w: tensor<64x64xf32>) {
  // expected-error@below {{expected at most one anchor, found lm.linear and lm.linear}}
  %y = lm.fused "linear_linear" {
    %a = lm.linear %x, %w : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    // expected-note@below {{the second anchor}}
    %b = lm.linear %a, %w : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    lm.yield %b : tensor<?x64xf32>
  } : tensor<?x64xf32>
  return
}

// -----

func.func @fused_row_epilogue(%x: tensor<?x64xf32>, %w: tensor<64x64xf32>, %g: tensor<64xf32>) {
  // expected-error@below {{expected epilogues of a column tile after the anchor, found lm.norm over whole rows}}
  %y = lm.fused "linear_norm" {
    %a = lm.linear %x, %w : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    %n = lm.norm rms %a, %g eps 1.0e-5 : tensor<?x64xf32>, tensor<64xf32> -> tensor<?x64xf32>
    lm.yield %n : tensor<?x64xf32>
  } : tensor<?x64xf32>
  return
}

// -----

func.func @fused_late_prologue(%batch: !lm.batch, %x: tensor<?x64xf32>, %w: tensor<64x64xf32>) {
  // expected-error@below {{expected epilogues of a column tile after the anchor, found lm.select_rows}}
  %y = lm.fused "linear_select" {
    %a = lm.linear %x, %w : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    %s = lm.select_rows %a at %batch : tensor<?x64xf32>
    lm.yield %s : tensor<?x64xf32>
  } : tensor<?x64xf32>
  return
}

// -----

func.func @fused_early_epilogue(%batch: !lm.batch, %x: tensor<?x64xf32>, %w: tensor<64x64xf32>) {
  // expected-error@below {{expected a prologue before the anchor, found lm.rope}}
  %y = lm.fused "rope_linear" {
    %r = lm.rope %x at %batch dim 64 by <layout = half, theta = 1.0e4, type = "default", params = {}> : tensor<?x64xf32>
    %a = lm.linear %r, %w : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    lm.yield %a : tensor<?x64xf32>
  } : tensor<?x64xf32>
  return
}

// -----

func.func @yield_outside(%x: tensor<?x64xf32>) {
  // expected-error@below {{'lm.yield' op expects parent op 'lm.fused'}}
  lm.yield
}

// -----

// expected-error@below {{expected a bias from 0 to 128, found 200}}
func.func private @quant_bias(tensor<4x64xi4, #lm.quant<group = 32, scale = f16, bias = 200, method = kept>>)

// -----

// expected-error@below {{expected a super of whole groups of 32, found 40}}
func.func private @quant_super(tensor<4x64xi4, #lm.quant<group = 32, scale = f16, super = 40, method = kept>>)

// -----

// expected-error@below {{expected no bias, minimum or super with method absmax}}
func.func private @quant_absmax(tensor<4x64xi8, #lm.quant<group = 32, scale = f16, minimum = true>>)

// -----

func.func @weight_absmax() {
  // expected-error@below {{expected i8 with method absmax, found 'tensor<64x64xi4, #lm.quant<group = 32, scale = bf16>>'}}
  %w = lm.weight "w" : tensor<64x64xi4, #lm.quant<group = 32, scale = bf16>>
  return
}

// -----

func.func @weight_f64() {
  // expected-error@below {{expected f32, bf16 or f16 elements, or i8, i6 or i4 with #lm.quant, found 'tensor<64x64xf64>'}}
  %w = lm.weight "w" : tensor<64x64xf64>
  return
}

// -----

func.func @stack_floats(%a: tensor<64x64xbf16>, %b: tensor<64x64xf32>) {
  // expected-error@below {{expected inputs of equal width and element, found 'tensor<64x64xbf16>' and 'tensor<64x64xf32>'}}
  %w = lm.stack %a, %b : (tensor<64x64xbf16>, tensor<64x64xf32>) -> tensor<128x64xf32>
  return
}
