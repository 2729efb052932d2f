// RUN: lathe-opt %s --lm-fuse-pipeline | FileCheck %s
// RUN: lathe-opt %s --lm-fuse-pipeline=quant=int8 | FileCheck %s --check-prefixes=CHECK,INT8
// RUN: lathe-opt %s --lm-fuse-pipeline="quant=int8 remarks=true" -o /dev/null 2>&1 | FileCheck %s --check-prefix=REMARK

// A qwen3 layer: the norms of query and key heads are epilogues between the linear and the rotations.
// CHECK: call @norm_qkv_norm_rope_append(
// CHECK-SAME: (!lm.batch, tensor<?x64xf32>, !lm.kv<heads = 2, dim = 16, page = 32, element = f32>, tensor<64xf32>, tensor<128x64x{{.*}}>, tensor<16xf32>, tensor<16xf32>)
// CHECK: call @attention(
// CHECK: call @o_residual(
// CHECK: call @norm_gate_up_gated(
// CHECK: call @down_residual(
// CHECK-LABEL: func.func private @norm_qkv_norm_rope_append(
// CHECK: lm.norm rms %{{[a-z0-9]*}}, %{{[a-z0-9]*}} eps 1.000000e-05 : tensor<?x64xf32>
// INT8-NEXT: lm.quantize
// CHECK-NEXT: lm.linear
// CHECK-NEXT: %[[parts:.*]]:3 = lm.split
// CHECK-NEXT: %[[q:.*]] = lm.norm rms %[[parts]]#0, {{.*}} per 16
// CHECK-NEXT: %[[k:.*]] = lm.norm rms %[[parts]]#1, {{.*}} per 16
// CHECK-NEXT: lm.rope %[[q]]
// CHECK-NEXT: %[[kr:.*]] = lm.rope %[[k]]
// CHECK-NEXT: lm.kv_append %[[kr]], %[[parts]]#2
// REMARK-NOT: {{[1-9]}} refused
// REMARK: lm-fuse-rope: 1 formed, 6 absorbed, 0 refused
// REMARK-NOT: {{[1-9]}} refused
// REMARK: lm-outline-kernels: 7 kernels of 7 regions

!kv = !lm.kv<heads = 2, dim = 16, page = 32, element = f32>
func.func @step(%batch: !lm.batch loc("batch"), %kv0_in: !kv loc("kv0_in")) -> (tensor<?x128xf32>, !kv) {
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
  %g_q_norm0 = lm.weight "model.layers.0.self_attn.q_norm.weight" : tensor<16xf32>
  %q_norm0 = lm.norm rms %q0, %g_q_norm0 eps 1.0e-5 per 16 : tensor<?x64xf32>, tensor<16xf32> -> tensor<?x64xf32> loc("q_norm")
  %g_k_norm0 = lm.weight "model.layers.0.self_attn.k_norm.weight" : tensor<16xf32>
  %k_norm0 = lm.norm rms %k0, %g_k_norm0 eps 1.0e-5 per 16 : tensor<?x32xf32>, tensor<16xf32> -> tensor<?x32xf32> loc("k_norm")
  %q_rope0 = lm.rope %q_norm0 at %batch dim 16 by <layout = half, theta = 1.0e4, type = "default", params = {}> : tensor<?x64xf32> loc("q_rope")
  %k_rope0 = lm.rope %k_norm0 at %batch dim 16 by <layout = half, theta = 1.0e4, type = "default", params = {}> : tensor<?x32xf32> loc("k_rope")
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
