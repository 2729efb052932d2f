// Every message of convert-lm-to-kern that valid lm can reach.
// RUN: lathe-opt %s --convert-lm-to-kern --split-input-file --verify-diagnostics

//===--- the step ---===//

// expected-error@below {{expected a function @step of one block}}
module {
}

// -----

// expected-error@below {{expected a function @step of one block}}
module {
  func.func private @step()
}

// -----

func.func @step(%x: tensor<?x64xf32>) {
  // expected-error@below {{expected weights and calls of kernels in the step: run lm-fuse-pipeline first}}
  %y = arith.addf %x, %x : tensor<?x64xf32>
  return
}

// -----

func.func @step() {
  // expected-error@below {{expected a call of an outlined kernel, found 'step'}}
  call @step() : () -> ()
  return
}

// -----

func.func @step(%x: tensor<?x64xf32>) {
  %w = lm.weight "w" : tensor<64x64xf32>
  // expected-error@below {{expected activations that a kernel before it gives}}
  %y = call @linear(%x, %w) : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
  return
}
func.func private @linear(%x: tensor<?x64xf32>, %w: tensor<64x64xf32>) -> tensor<?x64xf32> attributes {kern.schedules = []} {
  %r = lm.fused "linear" {
    %y = lm.linear %x, %w : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    lm.yield %y : tensor<?x64xf32>
  } : tensor<?x64xf32>
  return %r : tensor<?x64xf32>
}

// -----

// A kernel after the head that reads every row.
func.func @step(%batch: !lm.batch) {
  %table = lm.weight "embed" : tensor<100x64xf32>
  %w = lm.weight "w" : tensor<64x64xf32>
  %x = call @embed(%batch, %table) : (!lm.batch, tensor<100x64xf32>) -> tensor<?x64xf32>
  %s = call @head(%batch, %x, %w) : (!lm.batch, tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
  // expected-error@below {{expected activations of all rows: a kernel after the rows were selected must select them itself}}
  %y = call @linear(%s, %w) : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
  return
}
func.func private @embed(%batch: !lm.batch, %table: tensor<100x64xf32>) -> tensor<?x64xf32> attributes {kern.schedules = []} {
  %y = lm.fused "embed" {
    %x = lm.embed %table at %batch : tensor<100x64xf32> -> tensor<?x64xf32>
    lm.yield %x : tensor<?x64xf32>
  } : tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}
func.func private @head(%batch: !lm.batch, %x: tensor<?x64xf32>, %w: tensor<64x64xf32>) -> tensor<?x64xf32> attributes {kern.schedules = []} {
  %r = lm.fused "head" {
    %s = lm.select_rows %x at %batch : tensor<?x64xf32>
    %y = lm.linear %s, %w : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    lm.yield %y : tensor<?x64xf32>
  } : tensor<?x64xf32>
  return %r : tensor<?x64xf32>
}
func.func private @linear(%x: tensor<?x64xf32>, %w: tensor<64x64xf32>) -> tensor<?x64xf32> attributes {kern.schedules = []} {
  %r = lm.fused "linear" {
    %y = lm.linear %x, %w : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    lm.yield %y : tensor<?x64xf32>
  } : tensor<?x64xf32>
  return %r : tensor<?x64xf32>
}

// -----

// Nothing selects the rows whose logits are wanted.
func.func @step(%batch: !lm.batch) -> tensor<?x64xf32> {
  %table = lm.weight "embed" : tensor<100x64xf32>
  // expected-error@below {{expected the step's result to be of selected rows: it has room for the rows whose logits are wanted}}
  %x = call @embed(%batch, %table) : (!lm.batch, tensor<100x64xf32>) -> tensor<?x64xf32>
  return %x : tensor<?x64xf32>
}
func.func private @embed(%batch: !lm.batch, %table: tensor<100x64xf32>) -> tensor<?x64xf32> attributes {kern.schedules = []} {
  %y = lm.fused "embed" {
    %x = lm.embed %table at %batch : tensor<100x64xf32> -> tensor<?x64xf32>
    lm.yield %x : tensor<?x64xf32>
  } : tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}

// -----

func.func @step(%batch: !lm.batch) {
  // expected-error@below {{expected a weight, a stack of weights or zeros}}
  %table = arith.constant dense<1.0> : tensor<100x64xf32>
  %x = call @embed(%batch, %table) : (!lm.batch, tensor<100x64xf32>) -> tensor<?x64xf32>
  return
}
func.func private @embed(%batch: !lm.batch, %table: tensor<100x64xf32>) -> tensor<?x64xf32> attributes {kern.schedules = []} {
  %y = lm.fused "embed" {
    %x = lm.embed %table at %batch : tensor<100x64xf32> -> tensor<?x64xf32>
    lm.yield %x : tensor<?x64xf32>
  } : tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}

// -----

// expected-error@below {{expected a weight}}
func.func @step(%batch: !lm.batch, %table: tensor<100x64xf32>) {
  %x = call @embed(%batch, %table) : (!lm.batch, tensor<100x64xf32>) -> tensor<?x64xf32>
  return
}
func.func private @embed(%batch: !lm.batch, %table: tensor<100x64xf32>) -> tensor<?x64xf32> attributes {kern.schedules = []} {
  %y = lm.fused "embed" {
    %x = lm.embed %table at %batch : tensor<100x64xf32> -> tensor<?x64xf32>
    lm.yield %x : tensor<?x64xf32>
  } : tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}

// -----

//===--- the functions of kernels ---===//

func.func @step() {
  return
}
// expected-error@below {{expected schedules: run kern-select-schedule first}}
func.func private @linear(%x: tensor<?x64xf32>, %w: tensor<64x64xf32>) -> tensor<?x64xf32> {
  %r = lm.fused "linear" {
    %y = lm.linear %x, %w : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    lm.yield %y : tensor<?x64xf32>
  } : tensor<?x64xf32>
  return %r : tensor<?x64xf32>
}

// -----

func.func @step() {
  return
}
// expected-error@below {{expected schedules: run kern-select-schedule first}}
func.func private @linear(%x: tensor<?x64xf32>, %w: tensor<64x64xf32>) -> tensor<?x64xf32> attributes {kern.schedules = ["avx512vnni"]} {
  %r = lm.fused "linear" {
    %y = lm.linear %x, %w : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    lm.yield %y : tensor<?x64xf32>
  } : tensor<?x64xf32>
  return %r : tensor<?x64xf32>
}

// -----

func.func @step() {
  return
}
// expected-error@below {{expected one lm.fused and its return in a kernel's function}}
func.func private @external(%x: tensor<?x64xf32>) -> tensor<?x64xf32>

// -----

#schedule = #kern.schedule<target = "avx512vnni", unit_block = 12, rows = 6, columns = 32>
// What stands outside the region would not be computed.
func.func @step() {
  return
}
// expected-error@below {{expected one lm.fused and its return in a kernel's function}}
func.func private @outside(%x: tensor<?x64xf32>, %g: tensor<64xf32>, %w: tensor<64x64xf32>) -> tensor<?x64xf32> attributes {kern.schedules = [#schedule]} {
  %n = lm.norm rms %x, %g eps 1.0e-5 : tensor<?x64xf32>, tensor<64xf32> -> tensor<?x64xf32>
  %r = lm.fused "outside" {
    %y = lm.linear %n, %w : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    lm.yield %y : tensor<?x64xf32>
  } : tensor<?x64xf32>
  return %r : tensor<?x64xf32>
}

// -----

#schedule = #kern.schedule<target = "avx512vnni", unit_block = 12, rows = 6, columns = 32>
func.func @step() {
  return
}
func.func private @no_anchor(%x: tensor<?x64xf32>) -> tensor<?x64xf32> attributes {kern.schedules = [#schedule]} {
  // expected-error@below {{expected an anchor (linear, attention or embed): the CPU target has no kernel of elementwise ops alone}}
  %r = lm.fused "no_anchor" {
    %y = arith.addf %x, %x : tensor<?x64xf32>
    lm.yield %y : tensor<?x64xf32>
  } : tensor<?x64xf32>
  return %r : tensor<?x64xf32>
}

// -----

#schedule = #kern.schedule<target = "avx512vnni", unit_block = 12, rows = 6, columns = 32>
func.func @step() {
  return
}
func.func private @codes(%x: tensor<?x64xi8, #lm.quant<group = 64, scale = f32>>, %w: tensor<64x64xi8, #lm.quant<group = 64, scale = bf16>>) -> tensor<?x64xf32> attributes {kern.schedules = [#schedule]} {
  // expected-error@below {{expected activations in f32 between kernels, found 'tensor<?x64xi8, #lm.quant<group = 64, scale = f32>>'}}
  %r = lm.fused "codes" {
    %y = lm.linear %x, %w : (tensor<?x64xi8, #lm.quant<group = 64, scale = f32>>, tensor<64x64xi8, #lm.quant<group = 64, scale = bf16>>) -> tensor<?x64xf32>
    lm.yield %y : tensor<?x64xf32>
  } : tensor<?x64xf32>
  return %r : tensor<?x64xf32>
}

// -----

#schedule = #kern.schedule<target = "avx512vnni", unit_block = 12, rows = 6, columns = 32>
func.func @step() {
  return
}
func.func private @weight(%x: tensor<?x64xf32>) -> tensor<?x64xf32> attributes {kern.schedules = [#schedule]} {
  %r = lm.fused "weight" {
    %w = arith.constant dense<0.0> : tensor<64x64xf32>
    // expected-error@below {{expected the weight to be an argument of the kernel}}
    %y = lm.linear %x, %w : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    lm.yield %y : tensor<?x64xf32>
  } : tensor<?x64xf32>
  return %r : tensor<?x64xf32>
}

// -----

#schedule = #kern.schedule<target = "avx512vnni", unit_block = 12, rows = 6, columns = 32>
func.func @step() {
  return
}
func.func private @table(%batch: !lm.batch) -> tensor<?x64xf32> attributes {kern.schedules = [#schedule]} {
  %r = lm.fused "table" {
    %table = arith.constant dense<0.0> : tensor<100x64xf32>
    // expected-error@below {{expected the table to be an argument of the kernel}}
    %y = lm.embed %table at %batch : tensor<100x64xf32> -> tensor<?x64xf32>
    lm.yield %y : tensor<?x64xf32>
  } : tensor<?x64xf32>
  return %r : tensor<?x64xf32>
}

// -----

#schedule = #kern.schedule<target = "avx512vnni", unit_block = 12, rows = 6, columns = 32>
func.func @step() {
  return
}
func.func private @bias(%x: tensor<?x64xf32>, %w: tensor<64x64xf32>) -> tensor<?x64xf32> attributes {kern.schedules = [#schedule]} {
  %r = lm.fused "bias" {
    // expected-error@below {{expected a gain or bias that is an argument of the kernel}}
    %v = arith.constant dense<0.0> : tensor<64xf32>
    %y = lm.linear %x, %w bias %v : (tensor<?x64xf32>, tensor<64x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
    lm.yield %y : tensor<?x64xf32>
  } : tensor<?x64xf32>
  return %r : tensor<?x64xf32>
}

// -----

#schedule = #kern.schedule<target = "avx512vnni", unit_block = 12, rows = 6, columns = 32>
func.func @step() {
  return
}
func.func private @gain(%x: tensor<?x64xf32>, %w: tensor<64x64xf32>) -> tensor<?x64xf32> attributes {kern.schedules = [#schedule]} {
  %r = lm.fused "gain" {
    // expected-error@below {{expected a gain or bias that is an argument of the kernel}}
    %v = arith.constant dense<0.0> : tensor<64xf32>
    %n = lm.norm rms %x, %v eps 1.0e-5 : tensor<?x64xf32>, tensor<64xf32> -> tensor<?x64xf32>
    %y = lm.linear %n, %w : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    lm.yield %y : tensor<?x64xf32>
  } : tensor<?x64xf32>
  return %r : tensor<?x64xf32>
}

// -----

#schedule = #kern.schedule<target = "avx512vnni", unit_block = 12, rows = 6, columns = 32>
func.func @step() {
  return
}
func.func private @spans(%batch: !lm.batch, %x: tensor<?x64xf32>, %w: tensor<64x64xf32>, %g: tensor<16xf32>) -> tensor<?x64xf32> attributes {kern.schedules = [#schedule]} {
  %r = lm.fused "spans" {
    %y = lm.linear %x, %w : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    %n = lm.norm rms %y, %g eps 1.0e-5 per 16 : tensor<?x64xf32>, tensor<16xf32> -> tensor<?x64xf32>
    // expected-error@below {{expected epilogues of one column span, found 16 and 32}}
    %t = lm.rope %n at %batch dim 32 by <layout = half, theta = 1.0e4, type = "default", params = {}> : tensor<?x64xf32>
    lm.yield %t : tensor<?x64xf32>
  } : tensor<?x64xf32>
  return %r : tensor<?x64xf32>
}

// -----

#schedule = #kern.schedule<target = "avx512vnni", unit_block = 12, rows = 6, columns = 32>
func.func @step() {
  return
}
func.func private @interleave(%x: tensor<?x64xf32>, %w: tensor<64x64xf32>) -> tensor<?x32xf32> attributes {kern.schedules = [#schedule]} {
  %r = lm.fused "interleave" {
    %y = lm.linear %x, %w : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    // expected-error@below {{expected two results interleaved by 16 and no epilogue over heads}}
    %gate, %up = lm.split %y interleave 32 : tensor<?x64xf32> -> tensor<?x32xf32>, tensor<?x32xf32>
    %h = lm.gated silu %gate, %up : tensor<?x32xf32>
    lm.yield %h : tensor<?x32xf32>
  } : tensor<?x32xf32>
  return %r : tensor<?x32xf32>
}

// -----

#schedule = #kern.schedule<target = "avx512vnni", unit_block = 12, rows = 6, columns = 32>
func.func @step() {
  return
}
func.func private @parts(%x: tensor<?x64xf32>, %w: tensor<64x64xf32>) -> (tensor<?x48xf32>, tensor<?x16xf32>) attributes {kern.schedules = [#schedule]} {
  %r:2 = lm.fused "parts" {
    %y = lm.linear %x, %w : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    // expected-error@below {{expected equal parts where no epilogue works on heads}}
    %a, %b = lm.split %y : tensor<?x64xf32> -> tensor<?x48xf32>, tensor<?x16xf32>
    lm.yield %a, %b : tensor<?x48xf32>, tensor<?x16xf32>
  } : tensor<?x48xf32>, tensor<?x16xf32>
  return %r#0, %r#1 : tensor<?x48xf32>, tensor<?x16xf32>
}

// -----

#schedule = #kern.schedule<target = "avx512vnni", unit_block = 12, rows = 6, columns = 32>
func.func @step() {
  return
}
func.func private @two_appends(%batch: !lm.batch, %x: tensor<?x64xf32>, %w: tensor<64x64xf32>, %kv: !lm.kv<heads = 1, dim = 32, page = 32, element = f32>) -> !lm.kv<heads = 1, dim = 32, page = 32, element = f32> attributes {kern.schedules = [#schedule]} {
  %r = lm.fused "two_appends" {
    %y = lm.linear %x, %w : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    %k, %v = lm.split %y : tensor<?x64xf32> -> tensor<?x32xf32>, tensor<?x32xf32>
    %kv1 = lm.kv_append %k, %v into %kv at %batch : tensor<?x32xf32>, tensor<?x32xf32>, !lm.kv<heads = 1, dim = 32, page = 32, element = f32>
    // expected-error@below {{expected the KV to be an argument of the kernel}}
    %kv2 = lm.kv_append %k, %v into %kv1 at %batch : tensor<?x32xf32>, tensor<?x32xf32>, !lm.kv<heads = 1, dim = 32, page = 32, element = f32>
    lm.yield %kv2 : !lm.kv<heads = 1, dim = 32, page = 32, element = f32>
  } : !lm.kv<heads = 1, dim = 32, page = 32, element = f32>
  return %r : !lm.kv<heads = 1, dim = 32, page = 32, element = f32>
}

// -----

//===--- bodies ---===//

#schedule = #kern.schedule<target = "avx512vnni", unit_block = 12, rows = 6, columns = 32>
func.func @step() {
  return
}
func.func private @group(%x: tensor<?x64xf32>, %w: tensor<64x64xi8, #lm.quant<group = 40, scale = bf16>>) -> tensor<?x64xf32> attributes {kern.schedules = [#schedule]} {
  %r = lm.fused "group" {
    // expected-error@below {{expected groups of a multiple of 16 on this target, found 40}}
    %x8 = lm.quantize %x : tensor<?x64xf32> -> tensor<?x64xi8, #lm.quant<group = 40, scale = f32>>
    %y = lm.linear %x8, %w : (tensor<?x64xi8, #lm.quant<group = 40, scale = f32>>, tensor<64x64xi8, #lm.quant<group = 40, scale = bf16>>) -> tensor<?x64xf32>
    lm.yield %y : tensor<?x64xf32>
  } : tensor<?x64xf32>
  return %r : tensor<?x64xf32>
}

// -----

#schedule = #kern.schedule<target = "avx512vnni", unit_block = 12, rows = 6, columns = 32>
func.func @step() {
  return
}
func.func private @prologue(%gate: tensor<?x64xf32>, %up: tensor<?x64xf32>, %w: tensor<64x64xf32>) -> tensor<?x64xf32> attributes {kern.schedules = [#schedule]} {
  %r = lm.fused "prologue" {
    // expected-error@below {{expected a prologue that the CPU target knows (select_rows, norm, quantize, addf, gated silu)}}
    %h = lm.gated gelu %gate, %up : tensor<?x64xf32>
    %y = lm.linear %h, %w : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    lm.yield %y : tensor<?x64xf32>
  } : tensor<?x64xf32>
  return %r : tensor<?x64xf32>
}

// -----

#schedule = #kern.schedule<target = "avx512vnni", unit_block = 12, rows = 6, columns = 32>
func.func @step() {
  return
}
func.func private @gelu(%x: tensor<?x64xf32>, %w: tensor<64x64xf32>) -> tensor<?x32xf32> attributes {kern.schedules = [#schedule]} {
  %r = lm.fused "gelu" {
    %y = lm.linear %x, %w : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    %gate, %up = lm.split %y interleave 16 : tensor<?x64xf32> -> tensor<?x32xf32>, tensor<?x32xf32>
    // expected-error@below {{expected silu: there is no other gated activation yet}}
    %h = lm.gated gelu %gate, %up : tensor<?x32xf32>
    lm.yield %h : tensor<?x32xf32>
  } : tensor<?x32xf32>
  return %r : tensor<?x32xf32>
}

// -----

#schedule = #kern.schedule<target = "avx512vnni", unit_block = 12, rows = 6, columns = 32>
func.func @step() {
  return
}
func.func private @epilogue(%x: tensor<?x64xf32>, %w: tensor<64x64xf32>) -> tensor<?x64xf32> attributes {kern.schedules = [#schedule]} {
  %r = lm.fused "epilogue" {
    %y = lm.linear %x, %w : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    // expected-error@below {{expected an epilogue that kernels know (linear, split, gated, addf, norm per head, rope, kv_append)}}
    %z = arith.mulf %y, %x : tensor<?x64xf32>
    lm.yield %z : tensor<?x64xf32>
  } : tensor<?x64xf32>
  return %r : tensor<?x64xf32>
}

// -----

#schedule = #kern.schedule<target = "avx512vnni", unit_block = 12, rows = 6, columns = 32>
// The rotation overwrites the tile that the first result would be read from.
func.func @step() {
  return
}
func.func private @in_place(%batch: !lm.batch, %x: tensor<?x64xf32>, %w: tensor<64x64xf32>) -> (tensor<?x64xf32>, tensor<?x64xf32>) attributes {kern.schedules = [#schedule]} {
  %r:2 = lm.fused "in_place" {
    // expected-error@below {{expected no use of the value before a norm or rope beside it: they work in place}}
    %y = lm.linear %x, %w : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    %t = lm.rope %y at %batch dim 32 by <layout = half, theta = 1.0e4, type = "default", params = {}> : tensor<?x64xf32>
    lm.yield %y, %t : tensor<?x64xf32>, tensor<?x64xf32>
  } : tensor<?x64xf32>, tensor<?x64xf32>
  return %r#0, %r#1 : tensor<?x64xf32>, tensor<?x64xf32>
}

// -----

#schedule = #kern.schedule<target = "avx512vnni", unit_block = 12, rows = 6, columns = 32>
func.func @step() {
  return
}
func.func private @value_outside(%batch: !lm.batch, %x: tensor<?x64xf32>, %v: tensor<?x32xf32>, %w: tensor<32x64xf32>, %kv: !lm.kv<heads = 1, dim = 32, page = 32, element = f32>) -> !lm.kv<heads = 1, dim = 32, page = 32, element = f32> attributes {kern.schedules = [#schedule]} {
  %r = lm.fused "value_outside" {
    %k = lm.linear %x, %w : (tensor<?x64xf32>, tensor<32x64xf32>) -> tensor<?x32xf32>
    // expected-error@below {{expected keys and values of one linear}}
    %kv1 = lm.kv_append %k, %v into %kv at %batch : tensor<?x32xf32>, tensor<?x32xf32>, !lm.kv<heads = 1, dim = 32, page = 32, element = f32>
    lm.yield %kv1 : !lm.kv<heads = 1, dim = 32, page = 32, element = f32>
  } : !lm.kv<heads = 1, dim = 32, page = 32, element = f32>
  return %r : !lm.kv<heads = 1, dim = 32, page = 32, element = f32>
}

// -----

#schedule = #kern.schedule<target = "avx512vnni", unit_block = 12, rows = 6, columns = 32>
func.func @step() {
  return
}
func.func private @prologue_result(%x: tensor<?x64xf32>, %g: tensor<64xf32>, %w: tensor<64x64xf32>) -> (tensor<?x64xf32>, tensor<?x64xf32>) attributes {kern.schedules = [#schedule]} {
  %r:2 = lm.fused "prologue_result" {
    %n = lm.norm rms %x, %g eps 1.0e-5 : tensor<?x64xf32>, tensor<64xf32> -> tensor<?x64xf32>
    // expected-error@below {{expected its kernel to give values of the product only}}
    %y = lm.linear %n, %w : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
    lm.yield %n, %y : tensor<?x64xf32>, tensor<?x64xf32>
  } : tensor<?x64xf32>, tensor<?x64xf32>
  return %r#0, %r#1 : tensor<?x64xf32>, tensor<?x64xf32>
}

// -----

#schedule = #kern.schedule<target = "avx512vnni", unit_block = 12, rows = 6, columns = 32>
func.func @step() {
  return
}
func.func private @attention(%batch: !lm.batch, %q: tensor<?x32xf32>, %x: tensor<?x32xf32>, %kv: !lm.kv<heads = 1, dim = 32, page = 32, element = f32>) -> tensor<?x32xf32> attributes {kern.schedules = [#schedule]} {
  %r = lm.fused "attention" {
    // expected-error@below {{expected a kernel of attention alone: activations and KV in, its result out}}
    %a = lm.attention %q over %kv at %batch scale 1.0 causal : tensor<?x32xf32>, !lm.kv<heads = 1, dim = 32, page = 32, element = f32> -> tensor<?x32xf32>
    %y = arith.addf %a, %x : tensor<?x32xf32>
    lm.yield %y : tensor<?x32xf32>
  } : tensor<?x32xf32>
  return %r : tensor<?x32xf32>
}

// -----

#schedule = #kern.schedule<target = "avx512vnni", unit_block = 12, rows = 6, columns = 32>
func.func @step() {
  return
}
func.func private @embed(%batch: !lm.batch, %table: tensor<100x64xf32>) -> tensor<?x64xf32> attributes {kern.schedules = [#schedule]} {
  %r = lm.fused "embed" {
    // expected-error@below {{expected a kernel of embed alone}}
    %x = lm.embed %table at %batch : tensor<100x64xf32> -> tensor<?x64xf32>
    %y = arith.addf %x, %x : tensor<?x64xf32>
    lm.yield %y : tensor<?x64xf32>
  } : tensor<?x64xf32>
  return %r : tensor<?x64xf32>
}

//===--- weights that a target does not multiply ---===//

// -----

// A GPU multiplies codes by floats, a CPU by codes.
#schedule = #kern.schedule<target = "avx512vnni", unit_block = 48, rows = 6, columns = 32>
func.func @step(%x: tensor<?x64xf32>) {
  return
}
func.func private @linear(%x: tensor<?x64xf32>, %w: tensor<64x64xi8, #lm.quant<group = 32, scale = bf16>>) -> tensor<?x64xf32> attributes {kern.schedules = [#schedule]} {
  %r = lm.fused "linear" {
    // expected-error@below {{expected an input in codes on a CPU, whose products with codes are of integers}}
    %y = lm.linear %x, %w : (tensor<?x64xf32>, tensor<64x64xi8, #lm.quant<group = 32, scale = bf16>>) -> tensor<?x64xf32>
    lm.yield %y : tensor<?x64xf32>
  } : tensor<?x64xf32>
  return %r : tensor<?x64xf32>
}

// -----

#schedule = #kern.schedule<target = "cuda", unit_block = 8, rows = 8, columns = 32>
func.func @step(%x: tensor<?x64xf32>) {
  return
}
func.func private @linear(%x: tensor<?x64xf32>, %w: tensor<64x64xi8, #lm.quant<group = 32, scale = bf16>>) -> tensor<?x64xf32> attributes {kern.schedules = [#schedule]} {
  %r = lm.fused "linear" {
    %c = lm.quantize %x : tensor<?x64xf32> -> tensor<?x64xi8, #lm.quant<group = 32, scale = f32>>
    // expected-error@below {{expected an input in floats on a GPU, whose weights alone are quantised}}
    %y = lm.linear %c, %w : (tensor<?x64xi8, #lm.quant<group = 32, scale = f32>>, tensor<64x64xi8, #lm.quant<group = 32, scale = bf16>>) -> tensor<?x64xf32>
    lm.yield %y : tensor<?x64xf32>
  } : tensor<?x64xf32>
  return %r : tensor<?x64xf32>
}

// -----

#schedule = #kern.schedule<target = "cuda", unit_block = 8, rows = 8, columns = 32>
func.func @step(%x: tensor<?x64xf32>) {
  return
}
func.func private @linear(%x: tensor<?x64xf32>, %w: tensor<64x64xi4, #lm.quant<group = 32, scale = f16, minimum = true, method = search>>) -> tensor<?x64xf32> attributes {kern.schedules = [#schedule]} {
  %r = lm.fused "linear" {
    // expected-error@below {{expected a weight in f32, bf16 or codes of 8 bits in groups of a multiple of 32 without minima on a GPU, found 'tensor<64x64xi4}}
    %y = lm.linear %x, %w : (tensor<?x64xf32>, tensor<64x64xi4, #lm.quant<group = 32, scale = f16, minimum = true, method = search>>) -> tensor<?x64xf32>
    lm.yield %y : tensor<?x64xf32>
  } : tensor<?x64xf32>
  return %r : tensor<?x64xf32>
}

// -----

#schedule = #kern.schedule<target = "cuda", unit_block = 8, rows = 8, columns = 32>
func.func @step(%x: tensor<?x64xf32>) {
  return
}
func.func private @linear(%x: tensor<?x64xf32>, %w: tensor<64x64xi8, #lm.quant<group = 16, scale = bf16>>) -> tensor<?x64xf32> attributes {kern.schedules = [#schedule]} {
  %r = lm.fused "linear" {
    // expected-error@below {{expected a weight in f32, bf16 or codes of 8 bits in groups of a multiple of 32 without minima on a GPU, found 'tensor<64x64xi8, #lm.quant<group = 16}}
    %y = lm.linear %x, %w : (tensor<?x64xf32>, tensor<64x64xi8, #lm.quant<group = 16, scale = bf16>>) -> tensor<?x64xf32>
    lm.yield %y : tensor<?x64xf32>
  } : tensor<?x64xf32>
  return %r : tensor<?x64xf32>
}

// -----

#schedule = #kern.schedule<target = "cuda", unit_block = 8, rows = 8, columns = 32>
func.func @step(%x: tensor<?x64xf32>) {
  return
}
func.func private @linear(%x: tensor<?x64xf32>, %w: tensor<64x64xf16>) -> tensor<?x64xf32> attributes {kern.schedules = [#schedule]} {
  %r = lm.fused "linear" {
    // expected-error@below {{expected a weight in f32, bf16 or codes of 8 bits in groups of a multiple of 32 without minima on a GPU, found 'tensor<64x64xf16>'}}
    %y = lm.linear %x, %w : (tensor<?x64xf32>, tensor<64x64xf16>) -> tensor<?x64xf32>
    lm.yield %y : tensor<?x64xf32>
  } : tensor<?x64xf32>
  return %r : tensor<?x64xf32>
}
