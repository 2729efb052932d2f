// RUN: lathe-opt %s --lm-fuse-pipeline | FileCheck %s
// RUN: lathe-opt %s --lm-fuse-pipeline=quant=int8 | FileCheck %s --check-prefixes=CHECK,INT8

// A qwen2 layer: the biases of query, key and value are stacked like the weights; they stay in float.
// CHECK-LABEL: func.func @step(
// CHECK-DAG: %[[bq:.*]] = lm.weight "model.layers.0.self_attn.q_proj.bias" : tensor<64xf32>
// CHECK-DAG: %[[bk:.*]] = lm.weight "model.layers.0.self_attn.k_proj.bias" : tensor<32xf32>
// CHECK-DAG: %[[bv:.*]] = lm.weight "model.layers.0.self_attn.v_proj.bias" : tensor<32xf32>
// CHECK: %[[w:.*]] = lm.stack {{.*}} -> tensor<128x64x
// CHECK: %[[b:.*]] = lm.stack %[[bq]], %[[bk]], %[[bv]] : {{.*}} -> tensor<128xf32>
// CHECK: call @norm_qkv_rope_append({{.*}}, %[[w]], %[[b]])
// CHECK: func.func private @norm_qkv_rope_append(
// CHECK-SAME: %[[w:[a-z0-9]*]]: tensor<128x64x{{[^%]*}}, %[[b:[a-z0-9]*]]: tensor<128xf32>)
// CHECK: lm.norm
// INT8-NEXT: lm.quantize
// CHECK-NEXT: lm.linear %{{.*}}, %[[w]] bias %[[b]]
// CHECK-NEXT: lm.split
// CHECK: func.func private @attention(
// CHECK: func.func private @o_residual(
// CHECK: func.func private @norm_gate_up_gated(
// CHECK: func.func private @down_residual(
// CHECK: func.func private @norm_logits(
// CHECK-NOT: func.func

!kv = !lm.kv<heads = 2, dim = 16, page = 32, element = f32>
func.func @step(%batch: !lm.batch loc("batch"), %kv0_in: !kv loc("kv0_in")) -> (tensor<?x128xf32>, !kv) {
  %embed = lm.weight "model.embed_tokens.weight" : tensor<128x64xf32>
  %x0 = lm.embed %embed at %batch : tensor<128x64xf32> -> tensor<?x64xf32> loc("x")
  %g_attn_norm0 = lm.weight "model.layers.0.input_layernorm.weight" : tensor<64xf32>
  %attn_norm0 = lm.norm rms %x0, %g_attn_norm0 eps 1.0e-5 : tensor<?x64xf32>, tensor<64xf32> -> tensor<?x64xf32> loc("attn_norm")
  %w_q0 = lm.weight "model.layers.0.self_attn.q_proj.weight" : tensor<64x64xf32>
  %b_q0 = lm.weight "model.layers.0.self_attn.q_proj.bias" : tensor<64xf32>
  %q0 = lm.linear %attn_norm0, %w_q0 bias %b_q0 : (tensor<?x64xf32>, tensor<64x64xf32>, tensor<64xf32>) -> tensor<?x64xf32> loc("q")
  %w_k0 = lm.weight "model.layers.0.self_attn.k_proj.weight" : tensor<32x64xf32>
  %b_k0 = lm.weight "model.layers.0.self_attn.k_proj.bias" : tensor<32xf32>
  %k0 = lm.linear %attn_norm0, %w_k0 bias %b_k0 : (tensor<?x64xf32>, tensor<32x64xf32>, tensor<32xf32>) -> tensor<?x32xf32> loc("k")
  %w_v0 = lm.weight "model.layers.0.self_attn.v_proj.weight" : tensor<32x64xf32>
  %b_v0 = lm.weight "model.layers.0.self_attn.v_proj.bias" : tensor<32xf32>
  %v0 = lm.linear %attn_norm0, %w_v0 bias %b_v0 : (tensor<?x64xf32>, tensor<32x64xf32>, tensor<32xf32>) -> tensor<?x32xf32> loc("v")
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
  %last = lm.select_rows %x1 at %batch : tensor<?x64xf32> loc("x")
  %g_final_norm = lm.weight "model.norm.weight" : tensor<64xf32>
  %final_norm = lm.norm rms %last, %g_final_norm eps 1.0e-5 : tensor<?x64xf32>, tensor<64xf32> -> tensor<?x64xf32> loc("final_norm")
  %logits = lm.linear %final_norm, %embed : (tensor<?x64xf32>, tensor<128x64xf32>) -> tensor<?x128xf32> loc("logits")
  return %logits, %kv0 : tensor<?x128xf32>, !kv
}
