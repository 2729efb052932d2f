// RUN: lathe-opt %s --lm-fuse-pipeline=quant=int8 | FileCheck %s
// RUN: lathe-opt %s --lm-fuse-pipeline=quant=int8 | FileCheck %s --check-prefix=COUNT

// Three mistral layers, the first and the last with a window: two attention kernels, and all else is shared.
// CHECK: call @norm_qkv_rope_append(
// CHECK: call @attention_window_48(
// CHECK: call @norm_qkv_rope_append(
// CHECK: call @attention(
// CHECK: call @norm_qkv_rope_append(
// CHECK: call @attention_window_48(
// CHECK-LABEL: func.func private @attention_window_48(
// CHECK: lm.attention {{.*}} window 48
// CHECK-LABEL: func.func private @attention(
// CHECK: lm.attention {{.*}} causal
// COUNT-COUNT-8: attributes {lm.kernel}
// COUNT-NOT: lm.kernel

!kv = !lm.kv<heads = 2, dim = 16, page = 32, element = f32>
func.func @step(%batch: !lm.batch loc("batch"), %kv0_in: !kv loc("kv0_in"), %kv1_in: !kv loc("kv1_in"), %kv2_in: !kv loc("kv2_in")) -> (tensor<?x128xf32>, !kv, !kv, !kv) {
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
  %attn0 = lm.attention %q_rope0 over %kv0 at %batch scale 2.5e-1 window 48 : tensor<?x64xf32>, !kv -> tensor<?x64xf32> loc("attn")
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
  %g_attn_norm2 = lm.weight "model.layers.2.input_layernorm.weight" : tensor<64xf32>
  %attn_norm2 = lm.norm rms %x2, %g_attn_norm2 eps 1.0e-5 : tensor<?x64xf32>, tensor<64xf32> -> tensor<?x64xf32> loc("attn_norm")
  %w_q2 = lm.weight "model.layers.2.self_attn.q_proj.weight" : tensor<64x64xf32>
  %q2 = lm.linear %attn_norm2, %w_q2 : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32> loc("q")
  %w_k2 = lm.weight "model.layers.2.self_attn.k_proj.weight" : tensor<32x64xf32>
  %k2 = lm.linear %attn_norm2, %w_k2 : (tensor<?x64xf32>, tensor<32x64xf32>) -> tensor<?x32xf32> loc("k")
  %w_v2 = lm.weight "model.layers.2.self_attn.v_proj.weight" : tensor<32x64xf32>
  %v2 = lm.linear %attn_norm2, %w_v2 : (tensor<?x64xf32>, tensor<32x64xf32>) -> tensor<?x32xf32> loc("v")
  %q_rope2 = lm.rope %q2 at %batch dim 16 by <layout = half, theta = 1.0e4, type = "default", params = {}> : tensor<?x64xf32> loc("q_rope")
  %k_rope2 = lm.rope %k2 at %batch dim 16 by <layout = half, theta = 1.0e4, type = "default", params = {}> : tensor<?x32xf32> loc("k_rope")
  %kv2 = lm.kv_append %k_rope2, %v2 into %kv2_in at %batch : tensor<?x32xf32>, tensor<?x32xf32>, !kv loc("kv2")
  %attn2 = lm.attention %q_rope2 over %kv2 at %batch scale 2.5e-1 window 48 : tensor<?x64xf32>, !kv -> tensor<?x64xf32> loc("attn")
  %w_o2 = lm.weight "model.layers.2.self_attn.o_proj.weight" : tensor<64x64xf32>
  %o2 = lm.linear %attn2, %w_o2 : (tensor<?x64xf32>, tensor<64x64xf32>) -> tensor<?x64xf32> loc("o")
  %x2_attn = arith.addf %x2, %o2 : tensor<?x64xf32> loc("x")
  %g_mlp_norm2 = lm.weight "model.layers.2.post_attention_layernorm.weight" : tensor<64xf32>
  %mlp_norm2 = lm.norm rms %x2_attn, %g_mlp_norm2 eps 1.0e-5 : tensor<?x64xf32>, tensor<64xf32> -> tensor<?x64xf32> loc("mlp_norm")
  %w_gate2 = lm.weight "model.layers.2.mlp.gate_proj.weight" : tensor<96x64xf32>
  %gate2 = lm.linear %mlp_norm2, %w_gate2 : (tensor<?x64xf32>, tensor<96x64xf32>) -> tensor<?x96xf32> loc("gate")
  %w_up2 = lm.weight "model.layers.2.mlp.up_proj.weight" : tensor<96x64xf32>
  %up2 = lm.linear %mlp_norm2, %w_up2 : (tensor<?x64xf32>, tensor<96x64xf32>) -> tensor<?x96xf32> loc("up")
  %gated2 = lm.gated silu %gate2, %up2 : tensor<?x96xf32> loc("gated")
  %w_down2 = lm.weight "model.layers.2.mlp.down_proj.weight" : tensor<64x96xf32>
  %down2 = lm.linear %gated2, %w_down2 : (tensor<?x96xf32>, tensor<64x96xf32>) -> tensor<?x64xf32> loc("down")
  %x3 = arith.addf %x2_attn, %down2 : tensor<?x64xf32> loc("x")
  %last = lm.select_rows %x3 at %batch : tensor<?x64xf32> loc("x")
  %g_final_norm = lm.weight "model.norm.weight" : tensor<64xf32>
  %final_norm = lm.norm rms %last, %g_final_norm eps 1.0e-5 : tensor<?x64xf32>, tensor<64xf32> -> tensor<?x64xf32> loc("final_norm")
  %logits = lm.linear %final_norm, %embed : (tensor<?x64xf32>, tensor<128x64xf32>) -> tensor<?x128xf32> loc("logits")
  return %logits, %kv0, %kv1, %kv2 : tensor<?x128xf32>, !kv, !kv, !kv
}
