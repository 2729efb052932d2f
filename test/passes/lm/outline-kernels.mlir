// RUN: lathe-opt %s --lm-outline-kernels=remarks=true --split-input-file --verify-diagnostics | FileCheck %s
// RUN: lathe-opt %s --lm-outline-kernels --split-input-file --mlir-print-debuginfo --mlir-use-nameloc-as-prefix | FileCheck %s --check-prefix=NAMES

!f = tensor<?x64xf32>
!w = tensor<64x64xf32>
!kv = !lm.kv<heads = 4, dim = 16, page = 32, element = f32>

// Arguments: the batch, activations, KV values, weights, each in order of use.
// CHECK-LABEL: func.func @order(
// CHECK-SAME: %[[w:[a-z0-9]*]]: tensor<64x64xf32>, %[[kv:[a-z0-9]*]]: !lm.kv{{[^,]*,[^,]*,[^,]*,[^,]*}}, %[[v:[a-z0-9]*]]: tensor<?x64xf32>, %[[x:[a-z0-9]*]]: tensor<?x64xf32>, %[[batch:[a-z0-9]*]]: !lm.batch
// CHECK: %[[kv1:.*]] = call @key_append(%[[batch]], %[[x]], %[[v]], %[[kv]], %[[w]])
// CHECK-NEXT: return %[[kv1]]
// CHECK: func.func private @key_append(%[[b:[a-z0-9]*]]: !lm.batch, %[[x:[a-z0-9]*]]: tensor<?x64xf32>, %[[v:[a-z0-9]*]]: tensor<?x64xf32>, %[[kv:[a-z0-9]*]]: !lm.kv{{.*}}, %[[w:[a-z0-9]*]]: tensor<64x64xf32>)
// CHECK-SAME: attributes {lm.kernel}
// CHECK-NEXT: %[[out:.*]] = lm.fused "key_append" {
// CHECK-NEXT:   %[[k:.*]] = lm.linear %[[x]], %[[w]]
// CHECK-NEXT:   %[[kv1:.*]] = lm.kv_append %[[k]], %[[v]] into %[[kv]] at %[[b]]
// CHECK-NEXT:   lm.yield %[[kv1]]
// CHECK-NEXT: }
// CHECK-NEXT: return %[[out]]
// NAMES: func.func private @key_append(%{{.*}}: !lm.batch {{.*}}, %x: tensor<?x64xf32> {{.*}}, %v: tensor<?x64xf32> {{.*}}, %kv_in:
// NAMES:   %kv = lm.kv_append
// expected-remark @below {{lm-outline-kernels: 1 kernels of 1 regions}}
func.func @order(%w: !w, %kv7_in: !kv loc("kv7_in"), %v: !f loc("v"), %x: !f loc("x"), %batch: !lm.batch) -> !kv {
  %kv1 = lm.fused "key_append" {
    %k = lm.linear %x, %w : (!f, !w) -> !f
    %kv1 = lm.kv_append %k, %v into %kv7_in at %batch : !f, !f, !kv loc("kv7")
    lm.yield %kv1 : !kv
  } : !kv
  return %kv1 : !kv
}
