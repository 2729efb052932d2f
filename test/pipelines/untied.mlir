// RUN: lathe-opt %s --lm-fuse-pipeline | FileCheck %s
// RUN: lathe-opt %s --lm-fuse-pipeline=quant=int8 | FileCheck %s

// A head of its own, sizes that are no multiple of a tile, heads wider together than the model, and no names in
// locations: kernels are named after the weights.
// CHECK: %[[table:.*]] = lm.weight "model.embed_tokens.weight" : tensor<131x44x
// CHECK: call @embed(%{{.*}}, %[[table]])
// CHECK: call @norm_qkv_rope_append(
// CHECK: call @attention(
// CHECK: call @o_residual(
// CHECK: call @norm_gate_up_gated(
// CHECK: call @down_residual(
// CHECK: %[[head:.*]] = lm.weight "lm_head.weight" : tensor<131x44x
// CHECK: call @norm_lm_head({{.*}}, %[[head]])

!kv = !lm.kv<heads = 1, dim = 18, page = 32, element = f32>
func.func @step(%batch: !lm.batch, %kv0_in: !kv) -> (tensor<?x131xf32>, !kv) {
  %embed = lm.weight "model.embed_tokens.weight" : tensor<131x44xf32>
  %x0 = lm.embed %embed at %batch : tensor<131x44xf32> -> tensor<?x44xf32>
  %g_attn_norm0 = lm.weight "model.layers.0.input_layernorm.weight" : tensor<44xf32>
  %attn_norm0 = lm.norm rms %x0, %g_attn_norm0 eps 1.0e-5 : tensor<?x44xf32>, tensor<44xf32> -> tensor<?x44xf32>
  %w_q0 = lm.weight "model.layers.0.self_attn.q_proj.weight" : tensor<54x44xf32>
  %q0 = lm.linear %attn_norm0, %w_q0 : (tensor<?x44xf32>, tensor<54x44xf32>) -> tensor<?x54xf32>
  %w_k0 = lm.weight "model.layers.0.self_attn.k_proj.weight" : tensor<18x44xf32>
  %k0 = lm.linear %attn_norm0, %w_k0 : (tensor<?x44xf32>, tensor<18x44xf32>) -> tensor<?x18xf32>
  %w_v0 = lm.weight "model.layers.0.self_attn.v_proj.weight" : tensor<18x44xf32>
  %v0 = lm.linear %attn_norm0, %w_v0 : (tensor<?x44xf32>, tensor<18x44xf32>) -> tensor<?x18xf32>
  %q_rope0 = lm.rope %q0 at %batch dim 18 by <layout = half, theta = 1.0e4, type = "default", params = {}> : tensor<?x54xf32>
  %k_rope0 = lm.rope %k0 at %batch dim 18 by <layout = half, theta = 1.0e4, type = "default", params = {}> : tensor<?x18xf32>
  %kv0 = lm.kv_append %k_rope0, %v0 into %kv0_in at %batch : tensor<?x18xf32>, tensor<?x18xf32>, !kv
  %attn0 = lm.attention %q_rope0 over %kv0 at %batch scale 2.5e-1 causal : tensor<?x54xf32>, !kv -> tensor<?x54xf32>
  %w_o0 = lm.weight "model.layers.0.self_attn.o_proj.weight" : tensor<44x54xf32>
  %o0 = lm.linear %attn0, %w_o0 : (tensor<?x54xf32>, tensor<44x54xf32>) -> tensor<?x44xf32>
  %x0_attn = arith.addf %x0, %o0 : tensor<?x44xf32>
  %g_mlp_norm0 = lm.weight "model.layers.0.post_attention_layernorm.weight" : tensor<44xf32>
  %mlp_norm0 = lm.norm rms %x0_attn, %g_mlp_norm0 eps 1.0e-5 : tensor<?x44xf32>, tensor<44xf32> -> tensor<?x44xf32>
  %w_gate0 = lm.weight "model.layers.0.mlp.gate_proj.weight" : tensor<50x44xf32>
  %gate0 = lm.linear %mlp_norm0, %w_gate0 : (tensor<?x44xf32>, tensor<50x44xf32>) -> tensor<?x50xf32>
  %w_up0 = lm.weight "model.layers.0.mlp.up_proj.weight" : tensor<50x44xf32>
  %up0 = lm.linear %mlp_norm0, %w_up0 : (tensor<?x44xf32>, tensor<50x44xf32>) -> tensor<?x50xf32>
  %gated0 = lm.gated silu %gate0, %up0 : tensor<?x50xf32>
  %w_down0 = lm.weight "model.layers.0.mlp.down_proj.weight" : tensor<44x50xf32>
  %down0 = lm.linear %gated0, %w_down0 : (tensor<?x50xf32>, tensor<44x50xf32>) -> tensor<?x44xf32>
  %x1 = arith.addf %x0_attn, %down0 : tensor<?x44xf32>
  %last = lm.select_rows %x1 at %batch : tensor<?x44xf32>
  %g_final_norm = lm.weight "model.norm.weight" : tensor<44xf32>
  %final_norm = lm.norm rms %last, %g_final_norm eps 1.0e-5 : tensor<?x44xf32>, tensor<44xf32> -> tensor<?x44xf32>
  %head = lm.weight "lm_head.weight" : tensor<131x44xf32>
  %logits = lm.linear %final_norm, %head : (tensor<?x44xf32>, tensor<131x44xf32>) -> tensor<?x131xf32>
  return %logits, %kv0 : tensor<?x131xf32>, !kv
}
