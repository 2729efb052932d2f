// RUN: lathe-opt %s --lm-form-kernels=remarks=true --split-input-file --verify-diagnostics | FileCheck %s

!f = tensor<?x64xf32>

// Anchors get regions one by one; norm and add belong together; weights and stacks stay outside.
// CHECK-LABEL: func.func @leftovers(
// CHECK: %[[table:.*]] = lm.weight "embed"
// CHECK-NEXT: %[[x:.*]] = lm.fused "embed" {
// CHECK-NEXT:   lm.embed %[[table]]
// CHECK: %[[w:.*]] = lm.stack
// CHECK-NEXT: %[[y:.*]] = lm.fused "w1_w2_linear" {
// CHECK-NEXT:   lm.linear %[[x]], %[[w]]
// CHECK: lm.fused "norm_add" {
// CHECK-NEXT:   %[[n:.*]] = lm.norm rms %[[y]]
// CHECK-NEXT:   %[[z:.*]] = arith.addf %[[x]], %[[n]]
// CHECK-NEXT:   lm.yield %[[z]]
// expected-remark @below {{lm-form-kernels: 3 formed, 1 absorbed, 0 refused}}
func.func @leftovers(%batch: !lm.batch, %gain: tensor<64xf32>) -> !f {
  %table = lm.weight "embed" : tensor<128x64xf32>
  %x = lm.embed %table at %batch : tensor<128x64xf32> -> !f
  %w1 = lm.weight "w1" : tensor<32x64xf32>
  %w2 = lm.weight "w2" : tensor<32x64xf32>
  %w = lm.stack %w1, %w2 : (tensor<32x64xf32>, tensor<32x64xf32>) -> tensor<64x64xf32>
  %y = lm.linear %x, %w : (!f, tensor<64x64xf32>) -> !f
  %n = lm.norm rms %y, %gain eps 1.0e-5 : !f, tensor<64xf32> -> !f
  %z = arith.addf %x, %n : !f
  return %z : !f
}

// -----

!f = tensor<?x64xf32>
!kv = !lm.kv<heads = 4, dim = 16, page = 32, element = f32>

// Norms over the whole width keep query and key out of their linear: one region does the rest for both.
// CHECK-LABEL: func.func @query_and_key(
// CHECK: %[[out:.*]]:2 = lm.fused "norm_rope_append" {
// CHECK-NEXT:   lm.norm
// CHECK-NEXT:   lm.norm
// CHECK-NEXT:   lm.rope
// CHECK-NEXT:   lm.rope
// CHECK-NEXT:   lm.kv_append
// CHECK-NEXT:   lm.yield
// CHECK-NEXT: }
// CHECK-NEXT: return %[[out]]#0, %[[out]]#1
// expected-remark @below {{lm-form-kernels: 1 formed, 4 absorbed, 0 refused}}
func.func @query_and_key(%batch: !lm.batch, %kv: !kv, %x: !f, %w: tensor<192x64xf32>, %gq: tensor<64xf32>, %gk: tensor<64xf32>) -> (!f, !kv) {
  %q, %k, %v = lm.fused "qkv" {
    %y = lm.linear %x, %w : (!f, tensor<192x64xf32>) -> tensor<?x192xf32>
    %q, %k, %v = lm.split %y : tensor<?x192xf32> -> !f, !f, !f
    lm.yield %q, %k, %v : !f, !f, !f
  } : !f, !f, !f
  %qn = lm.norm rms %q, %gq eps 1.0e-5 : !f, tensor<64xf32> -> !f
  %kn = lm.norm rms %k, %gk eps 1.0e-5 : !f, tensor<64xf32> -> !f
  %qr = lm.rope %qn at %batch dim 16 by <layout = half, theta = 1.0e4, type = "default", params = {}> : !f
  %kr = lm.rope %kn at %batch dim 16 by <layout = half, theta = 1.0e4, type = "default", params = {}> : !f
  %kv1 = lm.kv_append %kr, %v into %kv at %batch : !f, !f, !kv
  return %qr, %kv1 : !f, !kv
}

// -----

!f = tensor<?x64xf32>

// Selected rows are fewer than the others and begin a region of their own.
// CHECK-LABEL: func.func @selected(
// CHECK: lm.fused "norm" {
// CHECK-NEXT:   lm.norm
// CHECK-NEXT:   lm.yield
// CHECK: lm.fused "select_rows" {
// CHECK-NEXT:   lm.select_rows
// expected-remark @below {{lm-form-kernels: 2 formed, 0 absorbed, 0 refused}}
func.func @selected(%batch: !lm.batch, %x: !f, %gain: tensor<64xf32>) -> (!f, !f) {
  %n = lm.norm rms %x, %gain eps 1.0e-5 : !f, tensor<64xf32> -> !f
  %s = lm.select_rows %n at %batch : !f
  return %n, %s : !f, !f
}
