// Every op prints what it parses, and its generic form means the same.
// RUN: lathe-opt %s | lathe-opt | FileCheck %s
// RUN: lathe-opt %s --mlir-print-op-generic | lathe-opt | FileCheck %s

!kv = !lm.kv<heads = 3, dim = 64, page = 32, element = bf16>
!w8 = tensor<192x576xi8, #lm.quant<group = 64, scale = bf16>>
!x8 = tensor<?x576xi8, #lm.quant<group = 64, scale = f32>>
#llama3 = #lm.rope<layout = half, theta = 5.0e5, type = "llama3", params = {factor = 8.0, high_freq_factor = 4.0, low_freq_factor = 1.0, original_max_position_embeddings = 8192.0}>

// Weights, as they are and quantised, one after another and in alternating blocks.
// CHECK-LABEL: func @weights(
// CHECK: lm.weight "model.norm.weight" : tensor<576xf32>
// CHECK: %[[K:.*]] = lm.weight "k" : tensor<192x576xi8, #lm.quant<group = 64, scale = bf16>>
// CHECK: %[[V:.*]] = lm.weight "v"
// CHECK: lm.stack %[[K]], %[[V]] : (tensor<192x576xi8, #lm.quant<group = 64, scale = bf16>>, tensor<192x576xi8, #lm.quant<group = 64, scale = bf16>>) -> tensor<384x576xi8, #lm.quant<group = 64, scale = bf16>>
// CHECK: lm.stack %[[K]], %[[V]] interleave 32 :
// CHECK: lm.stack %{{.*}}, %{{.*}} : (tensor<576xf32>, tensor<192xf32>) -> tensor<768xf32>
// CHECK: %[[HALF:.*]] = lm.weight "half" stored "F16" : tensor<192x576xf16>
// CHECK: %[[BF16:.*]] = lm.weight "rounded" : tensor<192x576xbf16>
// CHECK: lm.linear %{{.*}}, %[[HALF]] : (tensor<?x576xf32>, tensor<192x576xf16>) -> tensor<?x192xf32>
// CHECK: lm.linear %{{.*}}, %[[BF16]] : (tensor<?x576xf32>, tensor<192x576xbf16>) -> tensor<?x192xf32>
func.func @weights(%x: tensor<?x576xf32>) {
  %norm = lm.weight "model.norm.weight" : tensor<576xf32>
  %k = lm.weight "k" : !w8
  %v = lm.weight "v" : !w8
  %kv = lm.stack %k, %v : (!w8, !w8) -> tensor<384x576xi8, #lm.quant<group = 64, scale = bf16>>
  %alternating = lm.stack %k, %v interleave 32 : (!w8, !w8) -> tensor<384x576xi8, #lm.quant<group = 64, scale = bf16>>
  %bias = lm.weight "bias" : tensor<192xf32>
  %vectors = lm.stack %norm, %bias : (tensor<576xf32>, tensor<192xf32>) -> tensor<768xf32>
  %half = lm.weight "half" stored "F16" : tensor<192x576xf16>
  %rounded = lm.weight "rounded" : tensor<192x576xbf16>
  %y = lm.linear %x, %half : (tensor<?x576xf32>, tensor<192x576xf16>) -> tensor<?x192xf32>
  %z = lm.linear %x, %rounded : (tensor<?x576xf32>, tensor<192x576xbf16>) -> tensor<?x192xf32>
  return
}

// Ops on rows: embedding, both norms, linear with and without bias and quantised, split, gate, selection.
// CHECK-LABEL: func @rows(
// CHECK-SAME: %[[BATCH:[a-z0-9]+]]: !lm.batch, %[[TABLE:[a-z0-9]+]]: tensor<512x576xf32>
// CHECK: %[[X:.*]] = lm.embed %[[TABLE]] at %[[BATCH]] : tensor<512x576xf32> -> tensor<?x576xf32>
// CHECK: lm.norm rms %[[X]], %{{.*}} eps 1.000000e-05 : tensor<?x576xf32>, tensor<576xf32> -> tensor<?x576xf32>
// CHECK: lm.norm layer %[[X]], %{{.*}} bias %{{.*}} eps 1.000000e-05 : tensor<?x576xf32>, tensor<576xf32>, tensor<576xf32> -> tensor<?x576xf32>
// CHECK: lm.norm rms %[[X]], %{{.*}} eps 1.000000e-05 per 64 : tensor<?x576xf32>, tensor<64xf32> -> tensor<?x576xf32>
// CHECK: lm.linear %[[X]], %{{.*}} : (tensor<?x576xf32>, tensor<384x576xf32>) -> tensor<?x384xf32>
// CHECK: %[[Y:.*]] = lm.linear %[[X]], %{{.*}} bias %{{.*}} : (tensor<?x576xf32>, tensor<384x576xf32>, tensor<384xf32>) -> tensor<?x384xf32>
// CHECK: %[[X8:.*]] = lm.quantize %[[X]] : tensor<?x576xf32> -> tensor<?x576xi8, #lm.quant<group = 64, scale = f32>>
// CHECK: lm.linear %[[X8]], %{{.*}} : (tensor<?x576xi8, #lm.quant<group = 64, scale = f32>>, tensor<192x576xi8, #lm.quant<group = 64, scale = bf16>>) -> tensor<?x192xf32>
// CHECK: lm.split %[[Y]] : tensor<?x384xf32> -> tensor<?x256xf32>, tensor<?x128xf32>
// CHECK: %[[PARTS:.*]]:2 = lm.split %[[Y]] interleave 32 : tensor<?x384xf32> -> tensor<?x192xf32>, tensor<?x192xf32>
// CHECK: lm.gated silu %[[PARTS]]#0, %[[PARTS]]#1 : tensor<?x192xf32>
// CHECK: lm.gated gelu %
// CHECK: lm.gated gelu_tanh %
// CHECK: lm.gated relu %
// CHECK: lm.select_rows %[[X]] at %[[BATCH]] : tensor<?x576xf32>
func.func @rows(%batch: !lm.batch, %table: tensor<512x576xf32>, %g: tensor<576xf32>, %gh: tensor<64xf32>, %w: tensor<384x576xf32>, %b: tensor<384xf32>, %w8: !w8) {
  %x = lm.embed %table at %batch : tensor<512x576xf32> -> tensor<?x576xf32>
  %n1 = lm.norm rms %x, %g eps 1.0e-5 : tensor<?x576xf32>, tensor<576xf32> -> tensor<?x576xf32>
  %n2 = lm.norm layer %x, %g bias %g eps 1.0e-5 : tensor<?x576xf32>, tensor<576xf32>, tensor<576xf32> -> tensor<?x576xf32>
  %n3 = lm.norm rms %x, %gh eps 1.0e-5 per 64 : tensor<?x576xf32>, tensor<64xf32> -> tensor<?x576xf32>
  %y1 = lm.linear %x, %w : (tensor<?x576xf32>, tensor<384x576xf32>) -> tensor<?x384xf32>
  %y2 = lm.linear %x, %w bias %b : (tensor<?x576xf32>, tensor<384x576xf32>, tensor<384xf32>) -> tensor<?x384xf32>
  %x8 = lm.quantize %x : tensor<?x576xf32> -> !x8
  %y3 = lm.linear %x8, %w8 : (!x8, !w8) -> tensor<?x192xf32>
  %s1, %s2 = lm.split %y2 : tensor<?x384xf32> -> tensor<?x256xf32>, tensor<?x128xf32>
  %t1, %t2 = lm.split %y2 interleave 32 : tensor<?x384xf32> -> tensor<?x192xf32>, tensor<?x192xf32>
  %h1 = lm.gated silu %t1, %t2 : tensor<?x192xf32>
  %h2 = lm.gated gelu %t1, %t2 : tensor<?x192xf32>
  %h3 = lm.gated gelu_tanh %t1, %t2 : tensor<?x192xf32>
  %h4 = lm.gated relu %t1, %t2 : tensor<?x192xf32>
  %last = lm.select_rows %x at %batch : tensor<?x576xf32>
  return
}

// Attention over a KV value: rope in both layouts and every scaling, append, causal and window masks.
// CHECK-LABEL: func @attention(
// CHECK-SAME: %[[BATCH:[a-z0-9]+]]: !lm.batch, %[[KV:[a-z0-9]+]]: !lm.kv<heads = 3, dim = 64, page = 32, element = bf16>, %[[Q:[a-z0-9]+]]: tensor<?x576xf32>, %[[K:[a-z0-9]+]]: tensor<?x192xf32>
// CHECK: %[[QR:.*]] = lm.rope %[[Q]] at %[[BATCH]] dim 64 by <layout = half, theta = 5.000000e+05 : f64, type = "llama3", params = {factor = 8.000000e+00 : f64, high_freq_factor = 4.000000e+00 : f64, low_freq_factor = 1.000000e+00 : f64, original_max_position_embeddings = 8.192000e+03 : f64}> : tensor<?x576xf32>
// CHECK: lm.rope %{{.*}} <layout = interleaved, theta = 1.000000e+04 : f64, type = "default", params = {}>
// CHECK: lm.rope %{{.*}} type = "linear", params = {factor = 2.000000e+00 : f64}>
// CHECK: lm.rope %{{.*}} type = "yarn", params = {attention_factor =
// CHECK: %[[KV1:.*]] = lm.kv_append %[[K]], %[[K]] into %[[KV]] at %[[BATCH]] : tensor<?x192xf32>, tensor<?x192xf32>, <heads = 3, dim = 64, page = 32, element = bf16>
// CHECK: lm.attention %[[QR]] over %[[KV1]] at %[[BATCH]] scale 1.250000e-01 causal : tensor<?x576xf32>, <heads = 3, dim = 64, page = 32, element = bf16> -> tensor<?x576xf32>
// CHECK: lm.attention %{{.*}} scale 1.250000e-01 window 12 :
func.func @attention(%batch: !lm.batch, %kv: !kv, %q: tensor<?x576xf32>, %k: tensor<?x192xf32>) -> !kv {
  %r1 = lm.rope %q at %batch dim 64 by #llama3 : tensor<?x576xf32>
  %r2 = lm.rope %q at %batch dim 64 by <layout = interleaved, theta = 1.0e4, type = "default", params = {}> : tensor<?x576xf32>
  %r3 = lm.rope %q at %batch dim 64 by <layout = half, theta = 1.0e4, type = "linear", params = {factor = 2.0}> : tensor<?x576xf32>
  %r4 = lm.rope %q at %batch dim 64 by <layout = half, theta = 1.0e4, type = "yarn", params = {attention_factor = 1.2, beta_fast = 32.0, beta_slow = 1.0, factor = 4.0, original_max_position_embeddings = 64.0, truncate = 1.0}> : tensor<?x576xf32>
  %kv1 = lm.kv_append %k, %k into %kv at %batch : tensor<?x192xf32>, tensor<?x192xf32>, !kv
  %a1 = lm.attention %r1 over %kv1 at %batch scale 1.25e-1 causal : tensor<?x576xf32>, !kv -> tensor<?x576xf32>
  %a2 = lm.attention %r1 over %kv1 at %batch scale 1.25e-1 window 12 : tensor<?x576xf32>, !kv -> tensor<?x576xf32>
  return %kv1 : !kv
}

// A fused region: a prologue over whole rows, an anchor, epilogues over elements and heads, captures from outside.
// CHECK-LABEL: func @fused(
// CHECK: %{{.*}} = lm.fused "norm_linear_residual" {
// CHECK-NEXT: %[[N:.*]] = lm.norm
// CHECK-NEXT: %[[Y:.*]] = lm.linear %[[N]]
// CHECK-NEXT: %[[R:.*]] = lm.rope %[[Y]]
// CHECK-NEXT: %[[SUM:.*]] = arith.addf %[[R]]
// CHECK-NEXT: lm.yield %[[SUM]] : tensor<?x576xf32>
// CHECK-NEXT: } : tensor<?x576xf32>
// CHECK: lm.fused "nothing" {
// CHECK-NEXT: lm.yield
// CHECK-NEXT: }
func.func @fused(%batch: !lm.batch, %x: tensor<?x576xf32>, %g: tensor<576xf32>, %w: tensor<576x576xf32>) -> tensor<?x576xf32> {
  %sum = lm.fused "norm_linear_residual" {
    %n = lm.norm rms %x, %g eps 1.0e-5 : tensor<?x576xf32>, tensor<576xf32> -> tensor<?x576xf32>
    %y = lm.linear %n, %w : (tensor<?x576xf32>, tensor<576x576xf32>) -> tensor<?x576xf32>
    %r = lm.rope %y at %batch dim 64 by #llama3 : tensor<?x576xf32>
    %s = arith.addf %r, %x : tensor<?x576xf32>
    lm.yield %s : tensor<?x576xf32>
  } : tensor<?x576xf32>
  lm.fused "nothing" {
    lm.yield
  }
  return %sum : tensor<?x576xf32>
}
