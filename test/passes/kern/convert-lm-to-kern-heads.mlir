// RUN: lathe-opt %s --convert-lm-to-kern=context=600 --canonicalize --cse --split-input-file | FileCheck %s

// Heads of 24 columns stand in a panel each, so norm, rotation and append find a head in one tile. Biases are packed alike, a missing one is zeros.
// Both layers launch one kernel; each has its own pages. A context of 600 positions takes 3 rows of the high rope table.
// CHECK-LABEL: func.func @step() {
// CHECK: %[[X:.*]] = kern.buffer rows : memref<?x64xf32>
// CHECK: %[[W:.*]] = kern.weight values ["q", "k", "v"] pack <order = heads, dim = 24> k 64 : memref<4x64x32xf32>
// CHECK-NEXT: %[[BIAS:.*]] = kern.weight vector ["q.bias", "zeros 24", "v.bias"] pack <order = heads, dim = 24> k 1 : memref<128xf32>
// CHECK-NEXT: %[[GQ:.*]] = kern.weight vector ["q_norm"] k 1 : memref<32xf32>
// CHECK-NEXT: %[[GK:.*]] = kern.weight vector ["k_norm"] k 1 : memref<32xf32>
// CHECK-NEXT: %[[LOW:.*]] = kern.weight rope_low [] rope #lm.rope<layout = half, {{.*}}> k 24 : memref<2x256x16xf32>
// CHECK-NEXT: %[[HIGH:.*]] = kern.weight rope_high [] rope #lm.rope<layout = half, {{.*}}> k 24 : memref<2x3x16xf32>
// CHECK-NEXT: %[[K0:.*]] = kern.kv 0 keys : memref<?x1x32x32xbf16>
// CHECK-NEXT: %[[V0:.*]] = kern.kv 0 : memref<?x1x32x32xbf16>
// CHECK-NEXT: %[[Q0:.*]] = kern.buffer rows : memref<?x64xf32>
// CHECK-NEXT: kern.launch @qkv(%[[X]], %[[W]], %[[BIAS]], %[[GQ]], %[[GK]], %[[LOW]], %[[HIGH]], %[[K0]], %[[V0]], %[[Q0]])
// CHECK-NEXT: %[[K1:.*]] = kern.kv 1 keys :
// CHECK-NEXT: %[[V1:.*]] = kern.kv 1 :
// CHECK-NEXT: %[[Q1:.*]] = kern.buffer rows
// CHECK-NEXT: kern.launch @qkv(%[[X]], %[[W]], %[[BIAS]], %[[GQ]], %[[GK]], %[[LOW]], %[[HIGH]], %[[K1]], %[[V1]], %[[Q1]])

// CHECK: func.func @qkv(%[[A:.*]]: memref<?x64xf32>, %[[W:.*]]: memref<4x64x32xf32>, %[[BIAS:.*]]: memref<128xf32>, %[[GQ:[a-z0-9]*]]: memref<32xf32>, %[[GK:[a-z0-9]*]]: memref<32xf32>, %[[LOW:.*]]: memref<2x256x16xf32>, %[[HIGH:.*]]: memref<2x3x16xf32>, %[[KEYS:[a-z0-9]*]]: memref<?x1x32x32xbf16>, %[[VALUES:[a-z0-9]*]]: memref<?x1x32x32xbf16>, %[[Q:.*]]: memref<?x64xf32>)
// CHECK-SAME: kern.fused = "linear, split, norm, norm, rope, rope, kv_append"
// CHECK-SAME: kern.tiles = 4 : i64
// CHECK-DAG: %[[EIGHT:.*]] = arith.constant dense<[true, true, true, true, true, true, true, true, false, false, false, false, false, false, false, false]>
// CHECK-DAG: %[[ZERO:.*]] = arith.constant dense<0.000000e+00>
// CHECK-DAG: %[[DIM:.*]] = arith.constant 2.400000e+01 : f32
// CHECK: scf.for %[[T:.*]] = %{{.*}} to
// CHECK: kern.dot %[[COUNT:.*]] of 6 rows(%[[A]][%{{.*}}]) by(%[[W]][%[[T]]]) into %[[TILE:.*]][%c0] k 64

// The query's two heads: norm over 24 columns, the rotation by the sum of both tables' angles, 24 columns stored.
// CHECK: %[[BEHIND:.*]] = arith.cmpi slt, %[[T]], %c2
// CHECK: scf.if
// CHECK: %[[LAST:.*]] = arith.select %[[EIGHT]], %{{.*}}, %[[ZERO]]
// CHECK: %[[TOTAL:.*]] = kern.reduce add
// CHECK-NEXT: arith.divf %[[TOTAL]], %[[DIM]]
// CHECK: vector.load %[[GQ]][%c0]
// CHECK: vector.store %{{.*}}, %[[TILE]][%[[SLOT:.*]], %c0]
// CHECK: vector.load %[[GQ]][%c16]
// CHECK: vector.store %{{.*}}, %[[TILE]][%[[SLOT]], %c16]
// CHECK-NEXT: %[[POSITION:.*]] = kern.batch row_position[%[[ROW:.*]]]
// CHECK-NEXT: %[[LOWROW:.*]] = arith.remui %[[POSITION]], %c256
// CHECK-NEXT: %[[HIGHROW:.*]] = arith.divui %[[POSITION]], %c256
// CHECK-NEXT: %[[X:.*]] = vector.load %[[TILE]][%[[SLOT]], %c0]
// CHECK-NEXT: %[[Y:.*]] = vector.load %[[TILE]][%[[SLOT]], %c12]
// CHECK-NEXT: %[[COSLOW:.*]] = vector.load %[[LOW]][%c0, %[[LOWROW]], %c0]
// CHECK-NEXT: %[[SINLOW:.*]] = vector.load %[[LOW]][%c1, %[[LOWROW]], %c0]
// CHECK-NEXT: %[[COSHIGH:.*]] = vector.load %[[HIGH]][%c0, %[[HIGHROW]], %c0]
// CHECK-NEXT: %[[SINHIGH:.*]] = vector.load %[[HIGH]][%c1, %[[HIGHROW]], %c0]
// CHECK-DAG: %[[SINSIN:.*]] = arith.mulf %[[SINHIGH]], %[[SINLOW]]
// CHECK-DAG: %[[COSCOS:.*]] = arith.mulf %[[COSHIGH]], %[[COSLOW]]
// CHECK-DAG: %[[COS:.*]] = arith.subf %[[COSCOS]], %[[SINSIN]]
// CHECK-DAG: %[[COSSIN:.*]] = arith.mulf %[[COSHIGH]], %[[SINLOW]]
// CHECK-DAG: %[[SINCOS:.*]] = arith.mulf %[[SINHIGH]], %[[COSLOW]]
// CHECK-DAG: %[[SIN:.*]] = arith.addf %[[SINCOS]], %[[COSSIN]]
// CHECK-DAG: %[[XSIN:.*]] = arith.mulf %[[X]], %[[SIN]]
// CHECK-DAG: %[[YCOS:.*]] = arith.mulf %[[Y]], %[[COS]]
// CHECK-DAG: %[[SECOND:.*]] = arith.addf %[[YCOS]], %[[XSIN]]
// CHECK-DAG: %[[YSIN:.*]] = arith.mulf %[[Y]], %[[SIN]]
// CHECK-DAG: %[[XCOS:.*]] = arith.mulf %[[X]], %[[COS]]
// CHECK-DAG: %[[FIRST:.*]] = arith.subf %[[XCOS]], %[[YSIN]]
// CHECK: vector.store %[[FIRST]], %[[TILE]][%[[SLOT]], %c0]
// CHECK-NEXT: vector.store %[[SECOND]], %[[TILE]][%[[SLOT]], %c12]
// CHECK: %[[AT:.*]] = arith.muli %[[T]], %c24
// CHECK: vector.store %{{.*}}, %[[Q]][%[[ROW]], %[[AT]]]
// CHECK: vector.maskedstore %[[Q]][%[[ROW]], %{{.*}}], %[[EIGHT]], %{{.*}}

// The key's head: the same with its own gain, then 24 elements a page's row apart, rounded to the KV's element.
// CHECK: scf.if
// CHECK: vector.load %[[GK]][%c0]
// CHECK: %[[POSITION:.*]] = kern.batch row_position[%[[ROW]]]
// CHECK: %[[SEQUENCE:.*]] = kern.batch row_sequence[%[[ROW]]]
// CHECK-NEXT: %[[LOGICAL:.*]] = arith.divui %[[POSITION]], %c32
// CHECK-NEXT: %[[PAGE:.*]] = kern.gather_pages %[[SEQUENCE]], %[[LOGICAL]]
// CHECK-NEXT: %[[PLACE:.*]] = arith.remui %[[POSITION]], %c32
// CHECK: %[[ROUNDED:.*]] = arith.truncf %{{.*}} : vector<16xf32> to vector<16xbf16>
// CHECK: %[[ELEMENT:.*]] = vector.extract %[[ROUNDED]][0]
// CHECK-NEXT: memref.store %[[ELEMENT]], %[[KEYS]][%[[PAGE]], %[[HEAD:.*]], %c0, %[[PLACE]]]
// CHECK-COUNT-23: memref.store %{{.*}}, %[[KEYS]][
// CHECK-NOT: memref.store

// The value's head: the product and its bias as they are, side by side in the page.
// CHECK: scf.if
// CHECK: %[[PAGE:.*]] = kern.gather_pages
// CHECK-NEXT: %[[PLACE:.*]] = arith.remui
// CHECK-NEXT: %[[PRODUCT:.*]] = vector.load %[[TILE]]
// CHECK: %[[B:.*]] = vector.load %[[BIAS]]
// CHECK-NEXT: %[[BIASED:.*]] = arith.addf %[[PRODUCT]], %[[B]]
// CHECK: %[[ROUNDED:.*]] = arith.truncf %[[BIASED]]
// CHECK-NEXT: vector.store %[[ROUNDED]], %[[VALUES]][%[[PAGE]], %{{.*}}, %[[PLACE]], %c0]
// CHECK: vector.store %{{.*}}, %[[VALUES]][%[[PAGE]], %{{.*}}, %[[PLACE]], %c16]

!kv = !lm.kv<heads = 1, dim = 24, page = 32, element = bf16>
#schedule = #kern.schedule<target = "avx512vnni", unit_block = 12, rows = 6, columns = 32>
#rope = #lm.rope<layout = half, theta = 1.0e4, type = "default", params = {}>

func.func @step(%batch: !lm.batch, %kv0: !kv, %kv1: !kv) -> (!kv, !kv) {
  %table = lm.weight "embed" : tensor<100x64xf32>
  %x = call @embed(%batch, %table) : (!lm.batch, tensor<100x64xf32>) -> tensor<?x64xf32>
  %wq = lm.weight "q" : tensor<48x64xf32>
  %wk = lm.weight "k" : tensor<24x64xf32>
  %wv = lm.weight "v" : tensor<24x64xf32>
  %w = lm.stack %wq, %wk, %wv : (tensor<48x64xf32>, tensor<24x64xf32>, tensor<24x64xf32>) -> tensor<96x64xf32>
  %bq = lm.weight "q.bias" : tensor<48xf32>
  %bk = arith.constant dense<0.0> : tensor<24xf32>
  %bv = lm.weight "v.bias" : tensor<24xf32>
  %b = lm.stack %bq, %bk, %bv : (tensor<48xf32>, tensor<24xf32>, tensor<24xf32>) -> tensor<96xf32>
  %gq = lm.weight "q_norm" : tensor<24xf32>
  %gk = lm.weight "k_norm" : tensor<24xf32>
  %q0, %next0 = call @qkv(%batch, %x, %kv0, %w, %b, %gq, %gk) : (!lm.batch, tensor<?x64xf32>, !kv, tensor<96x64xf32>, tensor<96xf32>, tensor<24xf32>, tensor<24xf32>) -> (tensor<?x48xf32>, !kv)
  %q1, %next1 = call @qkv(%batch, %x, %kv1, %w, %b, %gq, %gk) : (!lm.batch, tensor<?x64xf32>, !kv, tensor<96x64xf32>, tensor<96xf32>, tensor<24xf32>, tensor<24xf32>) -> (tensor<?x48xf32>, !kv)
  return %next0, %next1 : !kv, !kv
}

func.func private @embed(%batch: !lm.batch, %table: tensor<100x64xf32>) -> tensor<?x64xf32> attributes {kern.schedules = [#schedule]} {
  %y = lm.fused "embed" {
    %x = lm.embed %table at %batch : tensor<100x64xf32> -> tensor<?x64xf32>
    lm.yield %x : tensor<?x64xf32>
  } : tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}

func.func private @qkv(%batch: !lm.batch, %x: tensor<?x64xf32>, %kv: !kv, %w: tensor<96x64xf32>, %b: tensor<96xf32>, %gq: tensor<24xf32>, %gk: tensor<24xf32>) -> (tensor<?x48xf32>, !kv)
    attributes {kern.schedules = [#schedule]} {
  %r:2 = lm.fused "qkv" {
    %y = lm.linear %x, %w bias %b : (tensor<?x64xf32>, tensor<96x64xf32>, tensor<96xf32>) -> tensor<?x96xf32>
    %q, %k, %v = lm.split %y : tensor<?x96xf32> -> tensor<?x48xf32>, tensor<?x24xf32>, tensor<?x24xf32>
    %qn = lm.norm rms %q, %gq eps 1.0e-6 per 24 : tensor<?x48xf32>, tensor<24xf32> -> tensor<?x48xf32>
    %kn = lm.norm rms %k, %gk eps 1.0e-6 per 24 : tensor<?x24xf32>, tensor<24xf32> -> tensor<?x24xf32>
    %qr = lm.rope %qn at %batch dim 24 by #rope : tensor<?x48xf32>
    %kr = lm.rope %kn at %batch dim 24 by #rope : tensor<?x24xf32>
    %kv1 = lm.kv_append %kr, %v into %kv at %batch : tensor<?x24xf32>, tensor<?x24xf32>, !kv
    lm.yield %qr, %kv1 : tensor<?x48xf32>, !kv
  } : tensor<?x48xf32>, !kv
  return %r#0, %r#1 : tensor<?x48xf32>, !kv
}

// -----

// Heads of 40 columns take two panels and one tile. Interleaved pairs are taken apart and put together again; all are read before one is written.
// CHECK-LABEL: func.func @step() {
// CHECK: kern.weight values ["q"] pack <order = heads, dim = 40> k 64 : memref<4x64x32xf32>
// CHECK: kern.weight rope_low [] rope #lm.rope<layout = interleaved, {{.*}}> k 40 : memref<2x256x32xf32>
// CHECK: kern.buffer rows : memref<?x96xf32>
// CHECK: func.func @q(%[[A:.*]]: memref<?x64xf32>, %[[W:.*]]: memref<4x64x32xf32>
// CHECK-SAME: kern.tile_bytes = 16384 : i64, kern.tiles = 2 : i64
// CHECK: %[[TILE:.*]] = kern.scratch : memref<6x64xf32>
// CHECK: scf.for %[[T:.*]] = %{{.*}} to
// CHECK: %[[PANEL:.*]] = arith.muli %[[T]], %c2
// CHECK-NEXT: kern.dot %{{.*}} of 6 rows(%{{.*}}) by(%[[W]][%[[PANEL]]]) into %[[TILE]][%c0] k 64
// CHECK-NEXT: %[[NEXT:.*]] = arith.addi %[[PANEL]], %c1
// CHECK-NEXT: kern.dot %{{.*}} of 6 rows(%{{.*}}) by(%[[W]][%[[NEXT]]]) into %[[TILE]][%c32] k 64
// CHECK: %[[BOTH:.*]] = vector.load %[[TILE]][%[[SLOT:.*]], %c0] : memref<6x64xf32>, vector<32xf32>
// CHECK-NEXT: %[[EVEN:.*]], %[[ODD:.*]] = vector.deinterleave %[[BOTH]]
// CHECK-NOT: vector.store
// CHECK: vector.load %[[TILE]][%[[SLOT]], %c32] : memref<6x64xf32>, vector<32xf32>
// CHECK-NOT: vector.store
// CHECK: %[[TURNED:.*]] = vector.interleave
// CHECK-NEXT: vector.store %[[TURNED]], %[[TILE]][%[[SLOT]], %c0]
// CHECK-NEXT: %[[TURNED:.*]] = vector.interleave
// CHECK-NEXT: vector.store %[[TURNED]], %[[TILE]][%[[SLOT]], %c32]
// CHECK: vector.maskedstore

#rope = #lm.rope<layout = interleaved, theta = 1.0e4, type = "default", params = {}>
#schedule = #kern.schedule<target = "avx512vnni", unit_block = 12, rows = 6, columns = 32>

func.func @step(%batch: !lm.batch) {
  %table = lm.weight "embed" : tensor<100x64xf32>
  %x = call @embed(%batch, %table) : (!lm.batch, tensor<100x64xf32>) -> tensor<?x64xf32>
  %wq = lm.weight "q" : tensor<80x64xf32>
  %q = call @q(%batch, %x, %wq) : (!lm.batch, tensor<?x64xf32>, tensor<80x64xf32>) -> tensor<?x80xf32>
  return
}

func.func private @embed(%batch: !lm.batch, %table: tensor<100x64xf32>) -> tensor<?x64xf32> attributes {kern.schedules = [#schedule]} {
  %y = lm.fused "embed" {
    %x = lm.embed %table at %batch : tensor<100x64xf32> -> tensor<?x64xf32>
    lm.yield %x : tensor<?x64xf32>
  } : tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}

func.func private @q(%batch: !lm.batch, %x: tensor<?x64xf32>, %w: tensor<80x64xf32>) -> tensor<?x80xf32> attributes {kern.schedules = [#schedule]} {
  %r = lm.fused "q" {
    %y = lm.linear %x, %w : (tensor<?x64xf32>, tensor<80x64xf32>) -> tensor<?x80xf32>
    %qr = lm.rope %y at %batch dim 40 by #rope : tensor<?x80xf32>
    lm.yield %qr : tensor<?x80xf32>
  } : tensor<?x80xf32>
  return %r : tensor<?x80xf32>
}

// -----

// A residual on heads of 24: the last head's second vector would end behind the row, so it is read and written by 8 lanes.
// CHECK-LABEL: func.func @step() {
// CHECK: func.func @residual(%{{.*}}: memref<?x64xf32>, %[[X:[a-z0-9]*]]: memref<?x96xf32>, %{{.*}}: memref<4x64x32xf32>
// CHECK-DAG: %[[EIGHT:.*]] = arith.constant dense<[true, true, true, true, true, true, true, true, false, false, false, false, false, false, false, false]>
// CHECK: %[[FIRST:.*]] = vector.load %[[X]]
// CHECK: %[[SECOND:.*]] = vector.maskedload %[[X]][%{{.*}}, %{{.*}}], %[[EIGHT]], %{{.*}}
// CHECK: %[[SUM:.*]] = arith.addf %{{.*}}, %[[SECOND]]
// CHECK: vector.maskedstore %{{.*}}, %[[EIGHT]], %[[SUM]]

#schedule = #kern.schedule<target = "avx512vnni", unit_block = 12, rows = 6, columns = 32>

func.func @step() {
  return
}

func.func private @residual(%a: tensor<?x64xf32>, %x: tensor<?x96xf32>, %w: tensor<96x64xf32>, %g: tensor<24xf32>) -> tensor<?x96xf32> attributes {kern.schedules = [#schedule]} {
  %r = lm.fused "residual" {
    %y = lm.linear %a, %w : (tensor<?x64xf32>, tensor<96x64xf32>) -> tensor<?x96xf32>
    %n = lm.norm rms %y, %g eps 1.0e-5 per 24 : tensor<?x96xf32>, tensor<24xf32> -> tensor<?x96xf32>
    %s = arith.addf %n, %x : tensor<?x96xf32>
    lm.yield %s : tensor<?x96xf32>
  } : tensor<?x96xf32>
  return %r : tensor<?x96xf32>
}
