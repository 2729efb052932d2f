// RUN: lathe-opt %s --lm-quantize | FileCheck %s
// RUN: lathe-opt %s --lm-quantize --lm-quantize | FileCheck %s
// RUN: lathe-opt %s --lm-quantize=group=32 | FileCheck %s --check-prefix=GROUP
// RUN: lathe-opt %s --lm-quantize=float-inputs=true | FileCheck %s --check-prefix=FLOATS
// RUN: lathe-opt %s --lm-quantize=remarks=true -o /dev/null 2>&1 | FileCheck %s --check-prefix=REMARK

// An input of two linears is quantised once; gains and biases stay in float.
// CHECK-LABEL: func.func @shared_input(
// CHECK-SAME: %[[x:.*]]: tensor<?x96xf32>
// CHECK: %[[gain:.*]] = lm.weight "gain" : tensor<96xf32>
// CHECK: %[[n:.*]] = lm.norm rms %[[x]], %[[gain]]
// CHECK: %[[wq:.*]] = lm.weight "q" : tensor<64x96xi8, #lm.quant<group = 64, scale = bf16>>
// CHECK: %[[wk:.*]] = lm.weight "k" : tensor<32x96xi8, #lm.quant<group = 64, scale = bf16>>
// CHECK: %[[bk:.*]] = lm.weight "k_bias" : tensor<32xf32>
// CHECK: %[[codes:.*]] = lm.quantize %[[n]] : tensor<?x96xf32> -> tensor<?x96xi8, #lm.quant<group = 32, scale = f32>>
// CHECK-NEXT: lm.linear %[[codes]], %[[wq]] :
// CHECK-NOT: lm.quantize
// CHECK: lm.linear %[[codes]], %[[wk]] bias %[[bk]] : {{.*}} -> tensor<?x32xf32>
// GROUP-LABEL: func.func @shared_input(
// GROUP: lm.weight "q" : tensor<64x96xi8, #lm.quant<group = 32, scale = bf16>>
// GROUP: lm.quantize {{.*}} -> tensor<?x96xi8, #lm.quant<group = 32, scale = f32>>
// A target that multiplies codes by floats.
// FLOATS-LABEL: func.func @shared_input(
// FLOATS: %[[n:.*]] = lm.norm
// FLOATS: lm.weight "q" : tensor<64x96xi8, #lm.quant<group = 64, scale = bf16>>
// FLOATS-NOT: lm.quantize
// FLOATS: lm.linear %[[n]], {{.*}} : (tensor<?x96xf32>, tensor<64x96xi8, #lm.quant<group = 64, scale = bf16>>) -> tensor<?x64xf32>
// REMARK: [[#@LINE+1]]:1: remark: lm-quantize: 2 weights, 1 inputs quantised, 0 refused
func.func @shared_input(%x: tensor<?x96xf32>) -> (tensor<?x64xf32>, tensor<?x32xf32>) {
  %gain = lm.weight "gain" : tensor<96xf32>
  %n = lm.norm rms %x, %gain eps 1.0e-5 : tensor<?x96xf32>, tensor<96xf32> -> tensor<?x96xf32>
  %wq = lm.weight "q" : tensor<64x96xf32>
  %wk = lm.weight "k" : tensor<32x96xf32>
  %bk = lm.weight "k_bias" : tensor<32xf32>
  %q = lm.linear %n, %wq : (tensor<?x96xf32>, tensor<64x96xf32>) -> tensor<?x64xf32>
  %k = lm.linear %n, %wk bias %bk : (tensor<?x96xf32>, tensor<32x96xf32>, tensor<32xf32>) -> tensor<?x32xf32>
  return %q, %k : tensor<?x64xf32>, tensor<?x32xf32>
}

// A tied head and the embedding read one table.
// CHECK-LABEL: func.func @tied(
// CHECK: %[[table:.*]] = lm.weight "embed" : tensor<128x64xi8, #lm.quant<group = 64, scale = bf16>>
// CHECK-NOT: lm.weight
// CHECK: %[[x:.*]] = lm.embed %[[table]] at %{{.*}} : tensor<128x64xi8, {{.*}}> -> tensor<?x64xf32>
// CHECK: %[[codes:.*]] = lm.quantize %[[x]]
// CHECK: lm.linear %[[codes]], %[[table]]
func.func @tied(%batch: !lm.batch) -> tensor<?x128xf32> {
  %table = lm.weight "embed" : tensor<128x64xf32>
  %x = lm.embed %table at %batch : tensor<128x64xf32> -> tensor<?x64xf32>
  %y = lm.linear %x, %table : (tensor<?x64xf32>, tensor<128x64xf32>) -> tensor<?x128xf32>
  return %y : tensor<?x128xf32>
}

// A table that only the embedding reads is quantised as well.
// CHECK-LABEL: func.func @untied(
// CHECK: %[[table:.*]] = lm.weight "embed" : tensor<128x64xi8, #lm.quant<group = 64, scale = bf16>>
// CHECK: lm.embed %[[table]]
func.func @untied(%batch: !lm.batch) -> tensor<?x64xf32> {
  %table = lm.weight "embed" : tensor<128x64xf32>
  %x = lm.embed %table at %batch : tensor<128x64xf32> -> tensor<?x64xf32>
  return %x : tensor<?x64xf32>
}
