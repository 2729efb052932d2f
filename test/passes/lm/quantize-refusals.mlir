// RUN: lathe-opt %s --lm-quantize=remarks=true --verify-diagnostics --split-input-file | FileCheck %s
// RUN: not lathe-opt %s --lm-quantize=group=6 --split-input-file 2>&1 | FileCheck %s --check-prefix=GROUP
// GROUP: error: lm-quantize: expected a group of a positive multiple of 4 elements{{.*}}, found 6

// A weight that is no lm.weight cannot be retyped.
// expected-remark @below {{lm-quantize: 0 weights, 0 inputs quantised, 2 refused}}
func.func @computed(%batch: !lm.batch, %table: tensor<128x64xf32>) -> tensor<?x128xf32> {
  // expected-remark @below {{table left in float: it is no weight, or a weight with other uses}}
  %x = lm.embed %table at %batch : tensor<128x64xf32> -> tensor<?x64xf32>
  // CHECK: lm.linear {{.*}} : (tensor<?x64xf32>, tensor<128x64xf32>)
  // expected-remark @below {{linear left in float: its weight is computed, not stored in blocks, or has other uses than linear and embed}}
  %y = lm.linear %x, %table : (tensor<?x64xf32>, tensor<128x64xf32>) -> tensor<?x128xf32>
  return %y : tensor<?x128xf32>
}

// -----

// A weight that something else reads in float stays in float.
// expected-remark @below {{lm-quantize: 0 weights, 0 inputs quantised, 1 refused}}
func.func @other_use(%x: tensor<?x64xf32>) -> (tensor<?x128xf32>, tensor<128x64xf32>) {
  // CHECK: lm.weight "w" : tensor<128x64xf32>
  %w = lm.weight "w" : tensor<128x64xf32>
  // expected-remark @below {{linear left in float}}
  %y = lm.linear %x, %w : (tensor<?x64xf32>, tensor<128x64xf32>) -> tensor<?x128xf32>
  return %y, %w : tensor<?x128xf32>, tensor<128x64xf32>
}
