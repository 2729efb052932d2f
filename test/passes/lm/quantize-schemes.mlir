// RUN: lathe-opt %s --lm-quantize=scheme=keep --split-input-file | FileCheck %s --check-prefix=KEEP
// RUN: lathe-opt %s --lm-quantize="scheme=int4 group=128" --split-input-file | FileCheck %s --check-prefix=INT4
// RUN: lathe-opt %s --lm-quantize="scheme=bf16 remarks=true" --split-input-file 2>&1 | FileCheck %s --check-prefix=BF16
// RUN: not lathe-opt %s --lm-quantize=scheme=int3 --split-input-file 2>&1 | FileCheck %s --check-prefix=UNKNOWN
// RUN: lathe-opt %s --lm-quantize=scheme=keep --lm-merge-linears --split-input-file | FileCheck %s --check-prefix=MERGE

// UNKNOWN: lm-quantize: expected scheme bf16, int8, int4 or keep, found 'int3'

// The blocks of the file stay as they are; what has none stays in float. In 4 bits, the table and the head get 8. In bf16 no input is quantised.
// BF16: remark: lm-quantize: 5 weights, 0 inputs quantised, 0 refused
// BF16-LABEL: func.func @step(
// BF16: %[[TABLE:.*]] = lm.weight "table" stored "Q8_0" : tensor<100x256xbf16>
// BF16: %[[A:.*]] = lm.weight "a" stored "Q4_K" : tensor<256x256xbf16>
// BF16: %[[X:.*]] = lm.embed %[[TABLE]] at %{{.*}} : tensor<100x256xbf16> -> tensor<?x256xf32>
// BF16-NEXT: %[[Y:.*]] = lm.linear %[[X]], %[[A]] : (tensor<?x256xf32>, tensor<256x256xbf16>) -> tensor<?x256xf32>
// BF16-NEXT: lm.linear %[[Y]],
// BF16-NOT: lm.quantize
// KEEP-LABEL: func.func @step(
// KEEP: lm.weight "table" stored "Q8_0" : tensor<100x256xi8, #lm.quant<group = 32, scale = f16, method = kept>>
// KEEP: lm.weight "a" stored "Q4_K" : tensor<256x256xi4, #lm.quant<group = 32, scale = f16, minimum = true, super = 256, method = kept>>
// KEEP: lm.weight "b" stored "Q6_K" : tensor<256x256xi6, #lm.quant<group = 16, scale = f16, bias = 32, super = 256, method = kept>>
// KEEP: lm.weight "c" stored "Q5_0" : tensor<256x256xi6, #lm.quant<group = 32, scale = f16, bias = 16, method = kept>>
// KEEP: lm.weight "d" : tensor<256x256xf32>
// KEEP: lm.quantize %{{.*}} : tensor<?x256xf32> -> tensor<?x256xi8, #lm.quant<group = 32, scale = f32>>
// INT4-LABEL: func.func @step(
// INT4: lm.weight "table" stored "Q8_0" : tensor<100x256xi8, #lm.quant<group = 32, scale = bf16>>
// INT4: lm.weight "a" stored "Q4_K" : tensor<256x256xi4, #lm.quant<group = 128, scale = f16, minimum = true, method = search>>
// INT4: lm.weight "d" : tensor<256x256xi4, #lm.quant<group = 128, scale = f16, minimum = true, method = search>>
func.func @step(%batch: !lm.batch) -> tensor<?x100xf32> {
  %table = lm.weight "table" stored "Q8_0" : tensor<100x256xf32>
  %a = lm.weight "a" stored "Q4_K" : tensor<256x256xf32>
  %b = lm.weight "b" stored "Q6_K" : tensor<256x256xf32>
  %c = lm.weight "c" stored "Q5_0" : tensor<256x256xf32>
  %d = lm.weight "d" : tensor<256x256xf32>
  %x = lm.embed %table at %batch : tensor<100x256xf32> -> tensor<?x256xf32>
  %y = lm.linear %x, %a : (tensor<?x256xf32>, tensor<256x256xf32>) -> tensor<?x256xf32>
  %z = lm.linear %y, %b : (tensor<?x256xf32>, tensor<256x256xf32>) -> tensor<?x256xf32>
  %u = lm.linear %z, %c : (tensor<?x256xf32>, tensor<256x256xf32>) -> tensor<?x256xf32>
  %v = lm.linear %u, %d : (tensor<?x256xf32>, tensor<256x256xf32>) -> tensor<?x256xf32>
  %logits = lm.linear %v, %table : (tensor<?x256xf32>, tensor<100x256xf32>) -> tensor<?x100xf32>
  return %logits : tensor<?x100xf32>
}

// -----

// Gate and up in different blocks: one encoding that holds both exactly, then one linear.
// MERGE-LABEL: func.func @mixed(
// MERGE: lm.weight "gate" stored "Q4_K" : tensor<64x256xi8, #lm.quant<group = 16, scale = f32, minimum = true, method = kept>>
// MERGE: lm.weight "up" stored "Q6_K" : tensor<64x256xi8, #lm.quant<group = 16, scale = f32, minimum = true, method = kept>>
// MERGE: lm.stack
func.func @mixed(%x: tensor<?x256xf32>) -> tensor<?x64xf32> {
  %gate = lm.weight "gate" stored "Q4_K" : tensor<64x256xf32>
  %up = lm.weight "up" stored "Q6_K" : tensor<64x256xf32>
  %g = lm.linear %x, %gate : (tensor<?x256xf32>, tensor<64x256xf32>) -> tensor<?x64xf32>
  %u = lm.linear %x, %up : (tensor<?x256xf32>, tensor<64x256xf32>) -> tensor<?x64xf32>
  %y = lm.gated silu %g, %u : tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}

// -----

// Shorter floats of the file stay as they are, too, and are multiplied by inputs in f32. Beside one another they become f32, which holds them exactly.
// KEEP-LABEL: func.func @floats(
// KEEP: lm.weight "gate" stored "BF16" : tensor<64x256xbf16>
// KEEP: lm.weight "up" stored "F16" : tensor<64x256xf16>
// KEEP: lm.linear %{{.*}} : (tensor<?x256xf32>, tensor<64x256xbf16>) -> tensor<?x64xf32>
// KEEP: lm.weight "down" stored "F16" : tensor<256x64xf16>
// KEEP-NOT: lm.quantize
// MERGE-LABEL: func.func @floats(
// MERGE: lm.weight "gate" stored "BF16" : tensor<64x256xf32>
// MERGE: lm.weight "up" stored "F16" : tensor<64x256xf32>
// MERGE: lm.stack %{{.*}} interleave 16 : (tensor<64x256xf32>, tensor<64x256xf32>) -> tensor<128x256xf32>
// MERGE: lm.weight "down" stored "F16" : tensor<256x64xf16>
func.func @floats(%x: tensor<?x256xf32>) -> tensor<?x256xf32> {
  %gate = lm.weight "gate" stored "BF16" : tensor<64x256xf32>
  %up = lm.weight "up" stored "F16" : tensor<64x256xf32>
  %g = lm.linear %x, %gate : (tensor<?x256xf32>, tensor<64x256xf32>) -> tensor<?x64xf32>
  %u = lm.linear %x, %up : (tensor<?x256xf32>, tensor<64x256xf32>) -> tensor<?x64xf32>
  %y = lm.gated silu %g, %u : tensor<?x64xf32>
  %down = lm.weight "down" stored "F16" : tensor<256x64xf32>
  %z = lm.linear %y, %down : (tensor<?x64xf32>, tensor<256x64xf32>) -> tensor<?x256xf32>
  return %z : tensor<?x256xf32>
}
