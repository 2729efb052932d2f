// RUN: lathe-opt %s --lm-fuse-pipeline | FileCheck %s --check-prefixes=CHECK,F32
// RUN: lathe-opt %s --lm-fuse-pipeline=quant=int8 | FileCheck %s --check-prefixes=CHECK,INT8
// RUN: lathe-opt %s --lm-fuse-pipeline=quant=int8 | lathe-opt | FileCheck %s --check-prefixes=CHECK,INT8
// RUN: lathe-opt %s --lm-fuse-pipeline=quant=int8 | FileCheck %s --check-prefix=COUNT
// RUN: lathe-opt %s --lm-fuse-pipeline="quant=int8 remarks=true" -o /dev/null 2>&1 | FileCheck %s --check-prefix=REMARK

// Two llama layers with a tied head: five kernels serve both layers, embed and head make seven.
// COUNT: func.func @step(
// COUNT-COUNT-7: attributes {lm.kernel}
// COUNT-NOT: lm.kernel

// REMARK-DAG: lm-quantize: 15 weights, 9 inputs quantised, 0 refused
// REMARK-DAG: lm-merge-linears: 4 formed, 10 absorbed, 0 refused
// REMARK-DAG: lm-fuse-gated: 2 formed, 4 absorbed, 0 refused
// REMARK-DAG: lm-fuse-rope: 2 formed, 8 absorbed, 0 refused
// REMARK-DAG: lm-fuse-attention: 2 formed, 0 absorbed, 0 refused
// REMARK-DAG: lm-fuse-norm: 5 formed, 15 absorbed, 0 refused
// REMARK-DAG: lm-fuse-residual: 0 formed, 4 absorbed, 0 refused
// REMARK-DAG: lm-form-kernels: 1 formed, 0 absorbed, 0 refused
// REMARK-DAG: lm-outline-kernels: 7 kernels of 12 regions

// CHECK-LABEL: func.func @step(
// CHECK-SAME: %[[batch:[a-z0-9]*]]: !lm.batch, %[[kv0_in:[a-z0-9_]*]]: !lm.kv{{[^%]*}}, %[[kv1_in:[a-z0-9_]*]]: !lm.kv
// CHECK: %[[table:.*]] = lm.weight "model.embed_tokens.weight"
// CHECK: %[[x:.*]] = call @embed(%[[batch]], %[[table]])
// CHECK: %[[gain:.*]] = lm.weight "model.layers.0.input_layernorm.weight" : tensor<64xf32>
// F32:   %[[wq:.*]] = lm.weight "model.layers.0.self_attn.q_proj.weight" : tensor<64x64xf32>
// INT8:  %[[wq:.*]] = lm.weight "model.layers.0.self_attn.q_proj.weight" : tensor<64x64xi8, #lm.quant<group = 64, scale = bf16>>
// CHECK: %[[wk:.*]] = lm.weight "model.layers.0.self_attn.k_proj.weight"
// CHECK: %[[wv:.*]] = lm.weight "model.layers.0.self_attn.v_proj.weight"
// CHECK: %[[wqkv:.*]] = lm.stack %[[wq]], %[[wk]], %[[wv]]
// CHECK: %[[qkv:.*]]:2 = call @norm_qkv_rope_append(%[[batch]], %[[x]], %[[kv0_in]], %[[gain]], %[[wqkv]])
// CHECK: %[[attn:.*]] = call @attention(%[[batch]], %[[qkv]]#0, %[[qkv]]#1)
// CHECK: %[[wo:.*]] = lm.weight "model.layers.0.self_attn.o_proj.weight"
// CHECK: %[[x1:.*]] = call @o_residual(%[[attn]], %[[x]], %[[wo]])
// CHECK: %[[wgu:.*]] = lm.stack {{.*}} interleave 16
// CHECK: %[[gated:.*]] = call @norm_gate_up_gated(%[[x1]], %{{.*}}, %[[wgu]])
// CHECK: %[[wd:.*]] = lm.weight "model.layers.0.mlp.down_proj.weight"
// CHECK: %[[x2:.*]] = call @down_residual(%[[gated]], %[[x1]], %[[wd]])
// CHECK: %[[qkv1:.*]]:2 = call @norm_qkv_rope_append(%[[batch]], %[[x2]], %[[kv1_in]],
// CHECK: call @attention(%[[batch]], %[[qkv1]]#0, %[[qkv1]]#1)
// CHECK: call @o_residual(
// CHECK: call @norm_gate_up_gated(
// CHECK: %[[x4:.*]] = call @down_residual(
// CHECK: %[[logits:.*]] = call @norm_logits(%[[batch]], %[[x4]], %{{.*}}, %[[table]])
// CHECK: return %[[logits]], %[[qkv]]#1, %[[qkv1]]#1

// CHECK: func.func private @embed(
// CHECK: lm.fused "embed" {
// CHECK-NEXT: lm.embed
// CHECK-NEXT: lm.yield

// CHECK: func.func private @norm_qkv_rope_append(
// CHECK-NEXT: %{{.*}}:2 = lm.fused "norm_qkv_rope_append" {
// CHECK-NEXT: lm.norm rms
// INT8-NEXT:  lm.quantize
// CHECK-NEXT: lm.linear
// CHECK-NEXT: lm.split
// CHECK-NEXT: lm.rope
// CHECK-NEXT: lm.rope
// CHECK-NEXT: lm.kv_append
// CHECK-NEXT: lm.yield %{{.*}}, %{{.*}} : tensor<?x64xf32>, !lm.kv<

// CHECK: func.func private @attention(
// CHECK-NEXT: lm.fused "attention" {
// CHECK-NEXT: lm.attention
// CHECK-NEXT: lm.yield

// CHECK: func.func private @o_residual(
// CHECK-NEXT: lm.fused "o_residual" {
// INT8-NEXT:  lm.quantize
// CHECK-NEXT: lm.linear
// CHECK-NEXT: arith.addf
// CHECK-NEXT: lm.yield

// CHECK: func.func private @norm_gate_up_gated(
// CHECK-NEXT: lm.fused "norm_gate_up_gated" {
// CHECK-NEXT: lm.norm rms
// INT8-NEXT:  lm.quantize
// CHECK-NEXT: lm.linear
// CHECK-NEXT: lm.split {{.*}} interleave 16
// CHECK-NEXT: lm.gated silu
// CHECK-NEXT: lm.yield

// CHECK: func.func private @down_residual(
// CHECK-NEXT: lm.fused "down_residual" {
// INT8-NEXT:  lm.quantize
// CHECK-NEXT: lm.linear
// CHECK-NEXT: arith.addf
// CHECK-NEXT: lm.yield

// CHECK: func.func private @norm_logits(
// CHECK-NEXT: lm.fused "norm_logits" {
// CHECK-NEXT: lm.select_rows
// CHECK-NEXT: lm.norm rms
// INT8-NEXT:  lm.quantize
// CHECK-NEXT: lm.linear
// CHECK-NEXT: lm.yield
// CHECK-NOT: func.func

!kv = !lm.kv<heads = 2, dim = 16, page = 32, element = f32>
func.func @step(%batch: !lm.batch loc("batch"), %kv0_in: !kv loc("kv0_in"), %kv1_in: !kv loc("kv1_in")) -> (tensor<?x128xf32>, !kv, !kv) {
  %embed = lm.weight "model.embed_tokens.weight" : tensor<128x64xf32>
  %x0 = lm.embed %embed at %batch : tensor<128x64xf32> -> tensor<?x64xf32> loc("x")
  %g_attn_norm0 = lm.weight "model.layers.0.input_layernorm.weight" : tensor<64xf32>
  %attn_norm0 = lm.norm rms %x0, %g_attn_norm0 eps 1.0e-5 : tensor<?x64xf32>, tensor<64xf32> -> tensor<?x64xf32> loc("attn_norm")
  %w_q0 = lm.weight "model.layers.0.self_attn.q_proj.weight" : tensor<64x64xf32>
  %q0 = lm.linear %attn_norm0, %w_q0 : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32> loc("q")
  %w_k0 = lm.weight "model.layers.0.self_attn.k_proj.weight" : tensor<32x64xf32>
  %k0 = lm.linear %attn_norm0, %w_k0 : (tensor<?x64xf32>, tensor<32x64xf32>) -> tensor<?x32xf32> loc("k")
  %w_v0 = lm.weight "model.layers.0.self_attn.v_proj.weight" : tensor<32x64xf32>
  %v0 = lm.linear %attn_norm0, %w_v0 : (tensor<?x64xf32>, tensor<32x64xf32>) -> tensor<?x32xf32> loc("v")
  %q_rope0 = lm.rope %q0 at %batch dim 16 by <layout = half, theta = 1.0e4, type = "default", params = {}> : tensor<?x64xf32> loc("q_rope")
  %k_rope0 = lm.rope %k0 at %batch dim 16 by <layout = half, theta = 1.0e4, type = "default", params = {}> : tensor<?x32xf32> loc("k_rope")
  %kv0 = lm.kv_append %k_rope0, %v0 into %kv0_in at %batch : tensor<?x32xf32>, tensor<?x32xf32>, !kv loc("kv0")
  %attn0 = lm.attention %q_rope0 over %kv0 at %batch scale 2.5e-1 causal : tensor<?x64xf32>, !kv -> tensor<?x64xf32> loc("attn")
  %w_o0 = lm.weight "model.layers.0.self_attn.o_proj.weight" : tensor<64x64xf32>
  %o0 = lm.linear %attn0, %w_o0 : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32> loc("o")
  %x0_attn = arith.addf %x0, %o0 : tensor<?x64xf32> loc("x")
  %g_mlp_norm0 = lm.weight "model.layers.0.post_attention_layernorm.weight" : tensor<64xf32>
  %mlp_norm0 = lm.norm rms %x0_attn, %g_mlp_norm0 eps 1.0e-5 : tensor<?x64xf32>, tensor<64xf32> -> tensor<?x64xf32> loc("mlp_norm")
  %w_gate0 = lm.weight "model.layers.0.mlp.gate_proj.weight" : tensor<96x64xf32>
  %gate0 = lm.linear %mlp_norm0, %w_gate0 : (tensor<?x64xf32>, tensor<96x64xf32>) -> tensor<?x96xf32> loc("gate")
  %w_up0 = lm.weight "model.layers.0.mlp.up_proj.weight" : tensor<96x64xf32>
  %up0 = lm.linear %mlp_norm0, %w_up0 : (tensor<?x64xf32>, tensor<96x64xf32>) -> tensor<?x96xf32> loc("up")
  %gated0 = lm.gated silu %gate0, %up0 : tensor<?x96xf32> loc("gated")
  %w_down0 = lm.weight "model.layers.0.mlp.down_proj.weight" : tensor<64x96xf32>
  %down0 = lm.linear %gated0, %w_down0 : (tensor<?x96xf32>, tensor<64x96xf32>) -> tensor<?x64xf32> loc("down")
  %x1 = arith.addf %x0_attn, %down0 : tensor<?x64xf32> loc("x")
  %g_attn_norm1 = lm.weight "model.layers.1.input_layernorm.weight" : tensor<64xf32>
  %attn_norm1 = lm.norm rms %x1, %g_attn_norm1 eps 1.0e-5 : tensor<?x64xf32>, tensor<64xf32> -> tensor<?x64xf32> loc("attn_norm")
  %w_q1 = lm.weight "model.layers.1.self_attn.q_proj.weight" : tensor<64x64xf32>
  %q1 = lm.linear %attn_norm1, %w_q1 : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32> loc("q")
  %w_k1 = lm.weight "model.layers.1.self_attn.k_proj.weight" : tensor<32x64xf32>
  %k1 = lm.linear %attn_norm1, %w_k1 : (tensor<?x64xf32>, tensor<32x64xf32>) -> tensor<?x32xf32> loc("k")
  %w_v1 = lm.weight "model.layers.1.self_attn.v_proj.weight" : tensor<32x64xf32>
  %v1 = lm.linear %attn_norm1, %w_v1 : (tensor<?x64xf32>, tensor<32x64xf32>) -> tensor<?x32xf32> loc("v")
  %q_rope1 = lm.rope %q1 at %batch dim 16 by <layout = half, theta = 1.0e4, type = "default", params = {}> : tensor<?x64xf32> loc("q_rope")
  %k_rope1 = lm.rope %k1 at %batch dim 16 by <layout = half, theta = 1.0e4, type = "default", params = {}> : tensor<?x32xf32> loc("k_rope")
  %kv1 = lm.kv_append %k_rope1, %v1 into %kv1_in at %batch : tensor<?x32xf32>, tensor<?x32xf32>, !kv loc("kv1")
  %attn1 = lm.attention %q_rope1 over %kv1 at %batch scale 2.5e-1 causal : tensor<?x64xf32>, !kv -> tensor<?x64xf32> loc("attn")
  %w_o1 = lm.weight "model.layers.1.self_attn.o_proj.weight" : tensor<64x64xf32>
  %o1 = lm.linear %attn1, %w_o1 : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32> loc("o")
  %x1_attn = arith.addf %x1, %o1 : tensor<?x64xf32> loc("x")
  %g_mlp_norm1 = lm.weight "model.layers.1.post_attention_layernorm.weight" : tensor<64xf32>
  %mlp_norm1 = lm.norm rms %x1_attn, %g_mlp_norm1 eps 1.0e-5 : tensor<?x64xf32>, tensor<64xf32> -> tensor<?x64xf32> loc("mlp_norm")
  %w_gate1 = lm.weight "model.layers.1.mlp.gate_proj.weight" : tensor<96x64xf32>
  %gate1 = lm.linear %mlp_norm1, %w_gate1 : (tensor<?x64xf32>, tensor<96x64xf32>) -> tensor<?x96xf32> loc("gate")
  %w_up1 = lm.weight "model.layers.1.mlp.up_proj.weight" : tensor<96x64xf32>
  %up1 = lm.linear %mlp_norm1, %w_up1 : (tensor<?x64xf32>, tensor<96x64xf32>) -> tensor<?x96xf32> loc("up")
  %gated1 = lm.gated silu %gate1, %up1 : tensor<?x96xf32> loc("gated")
  %w_down1 = lm.weight "model.layers.1.mlp.down_proj.weight" : tensor<64x96xf32>
  %down1 = lm.linear %gated1, %w_down1 : (tensor<?x96xf32>, tensor<64x96xf32>) -> tensor<?x64xf32> loc("down")
  %x2 = arith.addf %x1_attn, %down1 : tensor<?x64xf32> loc("x")
  %last = lm.select_rows %x2 at %batch : tensor<?x64xf32> loc("x")
  %g_final_norm = lm.weight "model.norm.weight" : tensor<64xf32>
  %final_norm = lm.norm rms %last, %g_final_norm eps 1.0e-5 : tensor<?x64xf32>, tensor<64xf32> -> tensor<?x64xf32> loc("final_norm")
  %logits = lm.linear %final_norm, %embed : (tensor<?x64xf32>, tensor<128x64xf32>) -> tensor<?x128xf32> loc("logits")
  return %logits, %kv0, %kv1 : tensor<?x128xf32>, !kv, !kv
}
