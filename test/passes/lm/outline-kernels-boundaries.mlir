// RUN: lathe-opt %s --lm-outline-kernels=remarks=true --split-input-file --verify-diagnostics -o /dev/null

!f = tensor<?x64xf32>
!w = tensor<64x64xf32>
!g = tensor<64xf32>

// A norm needs the whole row that the linear before it makes in tiles.
// expected-remark @below {{lm-outline-kernels: 2 kernels of 2 regions}}
func.func @row(%x: !f, %g: !g, %w: !w) -> !f {
  %a = lm.fused "first" {
    %y = lm.linear %x, %w : (!f, !w) -> !f
    lm.yield %y : !f
  } : !f
  %b = lm.fused "second" {
    // expected-remark @below {{not in one kernel with first: lm.norm needs a whole row, an epilogue sees a tile of columns}}
    %n = lm.norm rms %a, %g eps 1.0e-5 : !f, !g -> !f
    %y = lm.linear %n, %w : (!f, !w) -> !f
    lm.yield %y : !f
  } : !f
  return %b : !f
}

// -----

!f = tensor<?x64xf32>
!w = tensor<64x64xf32>

// Two linears in a row are two anchors; what is added to the second belongs to that one. Both readers are named once.
// expected-remark @below {{lm-outline-kernels: 2 kernels of 2 regions}}
func.func @anchors(%x: !f, %w: !w) -> !f {
  %a = lm.fused "first" {
    %y = lm.linear %x, %w : (!f, !w) -> !f
    lm.yield %y : !f
  } : !f
  %b = lm.fused "second" {
    // expected-remark @below {{not in one kernel with first: a region has one anchor, and lm.linear is one beside lm.linear}}
    %y = lm.linear %a, %w : (!f, !w) -> !f
    %s = arith.addf %y, %a : !f
    lm.yield %s : !f
  } : !f
  return %b : !f
}

// -----

!f = tensor<?x64xf32>
!w = tensor<64x64xf32>
!q = tensor<?x64xi8, #lm.quant<group = 32, scale = f32>>
!v = tensor<64x64xi8, #lm.quant<group = 32, scale = bf16>>

// Codes prepare the input of the linear behind them, a residual takes its result.
// expected-remark @below {{lm-outline-kernels: 2 kernels of 3 regions}}
func.func @sides(%x: !f, %w: !w, %v: !v) -> !f {
  %a = lm.fused "first" {
    %y = lm.linear %x, %w : (!f, !w) -> !f
    lm.yield %y : !f
  } : !f
  %b = lm.fused "second" {
    // expected-remark @below {{not in one kernel with first: lm.quantize prepares the input of lm.linear, the anchor of its region}}
    %c = lm.quantize %a : !f -> !q
    %y = lm.linear %c, %v : (!q, !v) -> !f
    %s = arith.addf %x, %y : !f
    lm.yield %s : !f
  } : !f
  %d = lm.fused "third" {
    // expected-remark @below {{not in one kernel with first: lm.quantize prepares the input of lm.linear, the anchor of its region}}
    %c = lm.quantize %a : !f -> !q
    %y = lm.linear %c, %v : (!q, !v) -> !f
    // expected-remark @below {{not in one kernel with second: arith.addf takes the result of lm.linear, the anchor of its region}}
    %s = arith.addf %b, %y : !f
    lm.yield %s : !f
  } : !f
  return %d : !f
}
