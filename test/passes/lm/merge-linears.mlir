// RUN: lathe-opt %s --lm-merge-linears=remarks=true --split-input-file --verify-diagnostics | FileCheck %s

!kv = !lm.kv<heads = 2, dim = 16, page = 32, element = f32>

// Query, key and value, with norm and rotation in between; weights stand one below the other.
// CHECK-LABEL: func.func @qkv(
// CHECK-SAME: %[[x:[a-z0-9]*]]: tensor<?x64xf32>
// CHECK: %[[wq:.*]] = lm.weight "q"
// CHECK: %[[wk:.*]] = lm.weight "k"
// CHECK: %[[wv:.*]] = lm.weight "v"
// CHECK: %[[w:.*]] = lm.stack %[[wq]], %[[wk]], %[[wv]] : {{.*}} -> tensor<128x64xf32>
// CHECK: %[[qkv:.*]] = lm.linear %[[x]], %[[w]] : {{.*}} -> tensor<?x128xf32>
// CHECK: %[[parts:.*]]:3 = lm.split %[[qkv]] : tensor<?x128xf32> -> tensor<?x64xf32>, tensor<?x32xf32>, tensor<?x32xf32>
// CHECK-NOT: lm.linear
// CHECK: %[[qn:.*]] = lm.norm rms %[[parts]]#0
// CHECK: %[[q:.*]] = lm.rope %[[qn]]
// CHECK: %[[k:.*]] = lm.rope %[[parts]]#1
// CHECK: lm.kv_append %[[k]], %[[parts]]#2
// expected-remark @below {{lm-merge-linears: 1 formed, 3 absorbed, 0 refused}}
func.func @qkv(%batch: !lm.batch, %kv: !kv, %x: tensor<?x64xf32>, %gain: tensor<16xf32>) -> (tensor<?x64xf32>, !kv) {
  %wq = lm.weight "q" : tensor<64x64xf32>
  %q = lm.linear %x, %wq : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
  %wk = lm.weight "k" : tensor<32x64xf32>
  %k = lm.linear %x, %wk : (tensor<?x64xf32>, tensor<32x64xf32>) -> tensor<?x32xf32>
  %wv = lm.weight "v" : tensor<32x64xf32>
  %v = lm.linear %x, %wv : (tensor<?x64xf32>, tensor<32x64xf32>) -> tensor<?x32xf32>
  %qn = lm.norm rms %q, %gain eps 1.0e-6 per 16 : tensor<?x64xf32>, tensor<16xf32> -> tensor<?x64xf32>
  %qr = lm.rope %qn at %batch dim 16 by <layout = half, theta = 1.0e4, type = "default", params = {}> : tensor<?x64xf32>
  %kr = lm.rope %k at %batch dim 16 by <layout = half, theta = 1.0e4, type = "default", params = {}> : tensor<?x32xf32>
  %kv1 = lm.kv_append %kr, %v into %kv at %batch : tensor<?x32xf32>, tensor<?x32xf32>, !kv
  %a = lm.attention %qr over %kv1 at %batch scale 2.5e-1 causal : tensor<?x64xf32>, !kv -> tensor<?x64xf32>
  return %a, %kv1 : tensor<?x64xf32>, !kv
}

// -----

!kv = !lm.kv<heads = 2, dim = 16, page = 32, element = f32>

// Biases are stacked like the weights, and quantised weights keep their encoding. Names come from the parts.
// CHECK-LABEL: func.func @biases(
// CHECK-SAME: %[[batch:[a-z0-9]*]]: !lm.batch, %[[kv:[a-z0-9]*]]: !lm.kv{{.*}}, %[[x:[a-z0-9]*]]: tensor<?x64xi8{{.*}}>
// CHECK-DAG: %[[bq:.*]] = lm.weight "q_bias"
// CHECK-DAG: %[[bk:.*]] = lm.weight "k_bias"
// CHECK-DAG: %[[bv:.*]] = lm.weight "v_bias"
// CHECK: %[[w:.*]] = lm.stack {{.*}} -> tensor<128x64xi8, #lm.quant<group = 64, scale = bf16>>
// CHECK: %[[b:.*]] = lm.stack %[[bq]], %[[bk]], %[[bv]] : {{.*}} -> tensor<128xf32>
// CHECK: lm.linear %[[x]], %[[w]] bias %[[b]] : {{.*}} -> tensor<?x128xf32>
// expected-remark @below {{lm-merge-linears: 1 formed, 3 absorbed, 0 refused}}
func.func @biases(%batch: !lm.batch, %kv: !kv, %x: tensor<?x64xi8, #lm.quant<group = 64, scale = f32>>) -> (tensor<?x64xf32>, !kv) {
  %wq = lm.weight "q" : tensor<64x64xi8, #lm.quant<group = 64, scale = bf16>>
  %wk = lm.weight "k" : tensor<32x64xi8, #lm.quant<group = 64, scale = bf16>>
  %wv = lm.weight "v" : tensor<32x64xi8, #lm.quant<group = 64, scale = bf16>>
  %bq = lm.weight "q_bias" : tensor<64xf32>
  %bk = lm.weight "k_bias" : tensor<32xf32>
  %bv = lm.weight "v_bias" : tensor<32xf32>
  %q = lm.linear %x, %wq bias %bq : (tensor<?x64xi8, #lm.quant<group = 64, scale = f32>>, tensor<64x64xi8, #lm.quant<group = 64, scale = bf16>>, tensor<64xf32>) -> tensor<?x64xf32>
  %k = lm.linear %x, %wk bias %bk : (tensor<?x64xi8, #lm.quant<group = 64, scale = f32>>, tensor<32x64xi8, #lm.quant<group = 64, scale = bf16>>, tensor<32xf32>) -> tensor<?x32xf32>
  %v = lm.linear %x, %wv bias %bv : (tensor<?x64xi8, #lm.quant<group = 64, scale = f32>>, tensor<32x64xi8, #lm.quant<group = 64, scale = bf16>>, tensor<32xf32>) -> tensor<?x32xf32>
  %kv1 = lm.kv_append %k, %v into %kv at %batch : tensor<?x32xf32>, tensor<?x32xf32>, !kv
  %a = lm.attention %q over %kv1 at %batch scale 2.5e-1 causal : tensor<?x64xf32>, !kv -> tensor<?x64xf32>
  return %a, %kv1 : tensor<?x64xf32>, !kv
}

// -----

// Gate and up alternate in blocks of 16, whichever stands first.
// CHECK-LABEL: func.func @gate_up(
// CHECK-DAG: %[[wg:.*]] = lm.weight "gate"
// CHECK-DAG: %[[wu:.*]] = lm.weight "up"
// CHECK: %[[w:.*]] = lm.stack %[[wg]], %[[wu]] interleave 16 : {{.*}} -> tensor<200x64xf32>
// CHECK: %[[y:.*]] = lm.linear %{{.*}}, %[[w]] : {{.*}} -> tensor<?x200xf32>
// CHECK: %[[parts:.*]]:2 = lm.split %[[y]] interleave 16 : tensor<?x200xf32> -> tensor<?x100xf32>, tensor<?x100xf32>
// CHECK: lm.gated silu %[[parts]]#0, %[[parts]]#1
// expected-remark @below {{lm-merge-linears: 1 formed, 2 absorbed, 0 refused}}
func.func @gate_up(%x: tensor<?x64xf32>) -> tensor<?x100xf32> {
  %wu = lm.weight "up" : tensor<100x64xf32>
  %u = lm.linear %x, %wu : (tensor<?x64xf32>, tensor<100x64xf32>) -> tensor<?x100xf32>
  %wg = lm.weight "gate" : tensor<100x64xf32>
  %g = lm.linear %x, %wg : (tensor<?x64xf32>, tensor<100x64xf32>) -> tensor<?x100xf32>
  %h = lm.gated silu %g, %u : tensor<?x100xf32>
  return %h : tensor<?x100xf32>
}

// -----

!kv = !lm.kv<heads = 2, dim = 16, page = 32, element = f32>

// In a parallel block all five linears have one input: two groups, by what becomes of their results.
// CHECK-LABEL: func.func @parallel(
// CHECK: lm.stack {{.*}} -> tensor<128x64xf32>
// CHECK: lm.stack {{.*}} interleave 16 : {{.*}} -> tensor<128x64xf32>
// expected-remark @below {{lm-merge-linears: 2 formed, 5 absorbed, 0 refused}}
func.func @parallel(%batch: !lm.batch, %kv: !kv, %x: tensor<?x64xf32>) -> (tensor<?x64xf32>, !kv, tensor<?x64xf32>) {
  %wq = lm.weight "q" : tensor<64x64xf32>
  %wk = lm.weight "k" : tensor<32x64xf32>
  %wv = lm.weight "v" : tensor<32x64xf32>
  %wg = lm.weight "gate" : tensor<64x64xf32>
  %wu = lm.weight "up" : tensor<64x64xf32>
  %q = lm.linear %x, %wq : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
  %k = lm.linear %x, %wk : (tensor<?x64xf32>, tensor<32x64xf32>) -> tensor<?x32xf32>
  %v = lm.linear %x, %wv : (tensor<?x64xf32>, tensor<32x64xf32>) -> tensor<?x32xf32>
  %g = lm.linear %x, %wg : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
  %u = lm.linear %x, %wu : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32>
  %kv1 = lm.kv_append %k, %v into %kv at %batch : tensor<?x32xf32>, tensor<?x32xf32>, !kv
  %a = lm.attention %q over %kv1 at %batch scale 2.5e-1 causal : tensor<?x64xf32>, !kv -> tensor<?x64xf32>
  %h = lm.gated silu %g, %u : tensor<?x64xf32>
  return %a, %kv1, %h : tensor<?x64xf32>, !kv, tensor<?x64xf32>
}

// -----

!kv = !lm.kv<heads = 2, dim = 16, page = 32, element = f32>

// Only the query has a bias: the others' part of the stack is zeros.
// CHECK-LABEL: func.func @some_biases(
// CHECK-DAG: %[[BQ:.*]] = lm.weight "q_bias" : tensor<64xf32>
// CHECK-DAG: %[[ZK:.*]] = arith.constant dense<0.000000e+00> : tensor<32xf32>
// CHECK-DAG: %[[ZV:.*]] = arith.constant dense<0.000000e+00> : tensor<32xf32>
// CHECK: %[[BIAS:.*]] = lm.stack %[[BQ]], %[[ZK]], %[[ZV]] :
// CHECK: lm.linear %{{.*}}, %{{.*}} bias %[[BIAS]]
// expected-remark @below {{lm-merge-linears: 1 formed, 3 absorbed, 0 refused}}
func.func @some_biases(%batch: !lm.batch, %kv: !kv, %x: tensor<?x64xf32>) -> (tensor<?x64xf32>, !kv) {
  %wq = lm.weight "q" : tensor<64x64xf32>
  %wk = lm.weight "k" : tensor<32x64xf32>
  %wv = lm.weight "v" : tensor<32x64xf32>
  %bq = lm.weight "q_bias" : tensor<64xf32>
  %q = lm.linear %x, %wq bias %bq : (tensor<?x64xf32>, tensor<64x64xf32>, tensor<64xf32>) -> tensor<?x64xf32>
  %k = lm.linear %x, %wk : (tensor<?x64xf32>, tensor<32x64xf32>) -> tensor<?x32xf32>
  %v = lm.linear %x, %wv : (tensor<?x64xf32>, tensor<32x64xf32>) -> tensor<?x32xf32>
  %kv1 = lm.kv_append %k, %v into %kv at %batch : tensor<?x32xf32>, tensor<?x32xf32>, !kv
  %a = lm.attention %q over %kv1 at %batch scale 2.5e-1 causal : tensor<?x64xf32>, !kv -> tensor<?x64xf32>
  return %a, %kv1 : tensor<?x64xf32>, !kv
}
