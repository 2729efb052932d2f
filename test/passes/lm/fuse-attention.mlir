// RUN: lathe-opt %s --lm-fuse-attention=remarks=true --verify-diagnostics | FileCheck %s

!kv = !lm.kv<heads = 2, dim = 16, page = 32, element = bf16>

// Each attention stands alone; a window is part of the name.
// CHECK-LABEL: func.func @attention(
// CHECK-SAME: %[[batch:[a-z0-9]*]]: !lm.batch, %[[kv:[a-z0-9]*]]: !lm.kv{{.*}}, %[[q:[a-z0-9]*]]: tensor<?x64xf32>
// CHECK: %[[a:.*]] = lm.fused "attention" {
// CHECK-NEXT:   %[[inner:.*]] = lm.attention %[[q]] over %[[kv]] at %[[batch]] scale 2.500000e-01 causal
// CHECK-NEXT:   lm.yield %[[inner]] : tensor<?x64xf32>
// CHECK-NEXT: } : tensor<?x64xf32>
// CHECK: lm.fused "attention_window_128" {
// CHECK-NEXT:   lm.attention %[[a]] over
// expected-remark @below {{lm-fuse-attention: 2 formed, 0 absorbed, 0 refused}}
func.func @attention(%batch: !lm.batch, %kv: !kv, %q: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %a = lm.attention %q over %kv at %batch scale 2.5e-1 causal : tensor<?x64xf32>, !kv -> tensor<?x64xf32>
  %b = lm.attention %a over %kv at %batch scale 2.5e-1 window 128 : tensor<?x64xf32>, !kv -> tensor<?x64xf32>
  return %b : tensor<?x64xf32>
}
