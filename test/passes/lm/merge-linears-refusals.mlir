// RUN: lathe-opt %s --lm-merge-linears=remarks=true --split-input-file --verify-diagnostics | FileCheck %s

!kv = !lm.kv<heads = 2, dim = 16, page = 32, element = f32>

// Across inputs only those of one input merge, here key and value.
// CHECK-LABEL: func.func @cross(
// CHECK: lm.linear {{.*}} -> tensor<?x64xf32>
// CHECK: lm.stack {{.*}} -> tensor<64x64xf32>
// expected-remark @below {{lm-merge-linears: 1 formed, 2 absorbed, 1 refused}}
func.func @cross(%batch: !lm.batch, %kv: !kv, %x: tensor<?x64xf32>, %m: tensor<?x64xf32>) -> (tensor<?x64xf32>, !kv) {
  %wq = lm.weight "q" : tensor<64x64xf32>
  %wk = lm.weight "k" : tensor<32x64xf32>
  %wv = lm.weight "v" : tensor<32x64xf32>
  %q = lm.linear %x, %wq : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
  %k = lm.linear %m, %wk : (tensor<?x64xf32>, tensor<32x64xf32>) -> tensor<?x32xf32>
  %v = lm.linear %m, %wv : (tensor<?x64xf32>, tensor<32x64xf32>) -> tensor<?x32xf32>
  %kv1 = lm.kv_append %k, %v into %kv at %batch : tensor<?x32xf32>, tensor<?x32xf32>, !kv
  // expected-remark @below {{not all merged: query, key and value have different inputs}}
  %a = lm.attention %q over %kv1 at %batch scale 2.5e-1 causal : tensor<?x64xf32>, !kv -> tensor<?x64xf32>
  return %a, %kv1 : tensor<?x64xf32>, !kv
}

// -----

// CHECK-LABEL: func.func @gate_elsewhere(
// CHECK-NOT: lm.split
// expected-remark @below {{0 formed, 0 absorbed, 3 refused}}
func.func @gate_elsewhere(%x: tensor<?x64xf32>, %y: tensor<?x64xf32>, %w: tensor<64x64xf32>) -> (tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>) {
  %g = lm.linear %x, %w : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
  %u = lm.linear %x, %w : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
  // expected-remark @below {{not merged: gate or up is used elsewhere}}
  %h = lm.gated silu %g, %u : tensor<?x64xf32>
  %u2 = lm.linear %y, %w : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
  // expected-remark @below {{not merged: gate and up have different inputs}}
  %h2 = lm.gated silu %u, %u2 : tensor<?x64xf32>
  %s = lm.stack %w : (tensor<64x64xf32>) -> tensor<64x64xf32>
  // expected-remark @below {{not merged: a weight is computed}}
  %g3 = lm.linear %x, %s : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
  %u3 = lm.linear %x, %w : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
  %h3 = lm.gated silu %g3, %u3 : tensor<?x64xf32>
  return %h, %h2, %h3, %g : tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>, tensor<?x64xf32>
}

// -----

// CHECK-LABEL: func.func @other_elements(
// expected-remark @below {{0 formed, 0 absorbed, 1 refused}}
func.func @other_elements(%x: tensor<?x64xi8, #lm.quant<group = 64, scale = f32>>) -> tensor<?x64xf32> {
  %wg = lm.weight "gate" : tensor<64x64xi8, #lm.quant<group = 64, scale = bf16>>
  %wu = lm.weight "up" : tensor<64x64xi8, #lm.quant<group = 64, scale = f32>>
  // CHECK-NOT: lm.stack
  // expected-remark @below {{not merged: the weights have different elements}}
  %g = lm.linear %x, %wg : (tensor<?x64xi8, #lm.quant<group = 64, scale = f32>>, tensor<64x64xi8, #lm.quant<group = 64, scale = bf16>>) -> tensor<?x64xf32>
  %u = lm.linear %x, %wu : (tensor<?x64xi8, #lm.quant<group = 64, scale = f32>>, tensor<64x64xi8, #lm.quant<group = 64, scale = f32>>) -> tensor<?x64xf32>
  %h = lm.gated silu %g, %u : tensor<?x64xf32>
  return %h : tensor<?x64xf32>
}
