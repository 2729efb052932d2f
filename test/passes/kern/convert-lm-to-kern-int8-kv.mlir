// RUN: lathe-opt %s --convert-lm-to-kern --canonicalize --cse --split-input-file | FileCheck %s

// Attention over int8 pages, 4 query heads on 2 KV heads of 24 columns (8 quads with the padding), 2 quads of scales behind the keys.
// CHECK-LABEL: func.func @step() {
// CHECK: kern.kv 0 keys : memref<?x2x10x32x4xi8>
// CHECK-NEXT: kern.kv 0 : memref<?x2x8x32x4xi8>

// CHECK: func.func @attention(%[[Q:[a-z0-9]*]]: memref<?x96xf32>, %[[KEYS:[a-z0-9]*]]: memref<?x2x10x32x4xi8>, %[[VALUES:[a-z0-9]*]]: memref<?x2x8x32x4xi8>,
// CHECK-DAG: %[[MOST:.*]] = arith.constant 1.270000e+02 : f32
// CHECK-DAG: %[[MOSTWEIGHT:.*]] = arith.constant 2.550000e+02 : f32
// CHECK-DAG: %[[SMALLEST:.*]] = arith.constant 1.000000e-30 : f32
// CHECK-DAG: %[[ZERO:.*]] = arith.constant 0.000000e+00 : f32
// CHECK-DAG: %[[ZEROS:.*]] = arith.constant dense<0.000000e+00> : vector<16xf32>
// CHECK-DAG: %[[NOTHING:.*]] = arith.constant dense<0> : vector<16xi32>
// CHECK: %[[SCORES:.*]] = kern.scratch : memref<2x256xf32>
// CHECK-NEXT: %[[CODES:.*]] = kern.scratch : memref<16x8xi32>
// CHECK-NEXT: %[[SCALES:.*]] = kern.scratch : memref<16x1xf32>
// CHECK-NEXT: %[[OFFSETS:.*]] = kern.scratch : memref<16x1xi32>
// CHECK-NEXT: %[[WEIGHTCODES:.*]] = kern.scratch : memref<2x64xi32>
// CHECK-NEXT: %[[WEIGHTSCALES:.*]] = kern.scratch : memref<2x8xf32>
// CHECK: scf.for %{{.*}} = %{{.*}} to
// CHECK-NEXT: scf.for %[[HEAD:.*]] = %{{.*}} to

// A query becomes codes and a scale once, and what the keys' bias of 128 makes too much. Of numbers without a sign the bits are compared.
// CHECK: %[[BITS:.*]] = arith.maxsi %{{.*}}, %{{.*}} : vector<16xi32>
// CHECK-NEXT: %[[MAXBITS:.*]] = kern.reduce max %[[BITS]]
// CHECK-NEXT: %[[ABSMAX:.*]] = arith.bitcast %[[MAXBITS]] : i32 to f32
// CHECK-NEXT: %[[SOME:.*]] = arith.cmpf ogt, %[[ABSMAX]], %[[SMALLEST]]
// CHECK-NEXT: %[[STEP:.*]] = arith.divf %[[ABSMAX]], %[[MOST]]
// CHECK-NEXT: %[[SCALE:.*]] = arith.select %[[SOME]], %[[STEP]], %[[ZERO]]
// CHECK-NEXT: %[[INVERSE:.*]] = arith.divf %[[MOST]], %[[ABSMAX]]
// CHECK-COUNT-2: math.roundeven
// CHECK: vector.store %{{.*}}, %[[CODES]][%[[QUERY:.*]], %c0] : memref<16x8xi32>, vector<4xi32>
// CHECK: vector.store %{{.*}}, %[[CODES]][%[[QUERY]], %c4] : memref<16x8xi32>, vector<4xi32>
// CHECK-NEXT: memref.store %[[SCALE]], %[[SCALES]][%[[QUERY]], %c0]
// CHECK: %[[SUM:.*]] = kern.reduce add
// CHECK-NEXT: %[[OFFSET:.*]] = arith.muli %[[SUM]], %c-128_i32
// CHECK-NEXT: memref.store %[[OFFSET]], %[[OFFSETS]][%[[QUERY]], %c0]

// Scores: 4 columns of 16 positions at a time, 6 quads, three pages of two queries; both scales at the end. What comes next is asked for.
// CHECK: scf.for %{{.*}} = %c0 to %{{.*}} step %c3
// CHECK: memref.load %[[OFFSETS]]
// CHECK: memref.prefetch %[[KEYS]][%[[NEXT:.*]], %[[HEAD]], %c8, %c0, %c0], read, locality<3>
// CHECK: %[[INTS:.*]]:12 = scf.for %[[QUAD:.*]] = %c0 to %c6 step %c1
// CHECK: %[[FOUR:.*]] = memref.load %[[CODES]][%{{.*}}, %[[QUAD]]]
// CHECK-NEXT: %[[ALL:.*]] = vector.broadcast %[[FOUR]]
// CHECK-NEXT: %[[X:.*]] = vector.bitcast %[[ALL]] : vector<16xi32> to vector<64xi8>
// CHECK: memref.prefetch %[[KEYS]][%[[NEXT]], %[[HEAD]], %[[QUAD]], %c16, %c0], read, locality<3>
// CHECK: memref.prefetch %[[VALUES]][%[[PAGE:.*]], %[[HEAD]], %{{.*}}, %{{.*}}, %c0], read, locality<2>
// CHECK: %[[KEY:.*]] = vector.load %[[KEYS]][%[[PAGE]], %[[HEAD]], %[[QUAD]], %c0, %c0]
// CHECK-NEXT: kern.byte_dot %{{.*}}, %[[KEY]] by %[[X]]
// CHECK: %[[KEYSCALE:.*]] = vector.load %[[KEYS]][%[[PAGE]], %[[HEAD]], %c8, %c0, %c0]
// CHECK-NEXT: %[[KEYSCALES:.*]] = vector.bitcast %[[KEYSCALE]] : vector<64xi8> to vector<16xf32>
// CHECK-NEXT: %[[EXACT:.*]] = arith.sitofp %[[INTS]]#0
// CHECK-NEXT: %[[SCALED:.*]] = arith.mulf %[[EXACT]], %{{.*}}
// CHECK-NEXT: %[[SCORE:.*]] = arith.mulf %[[SCALED]], %[[KEYSCALES]]
// CHECK-NEXT: vector.store %[[SCORE]], %[[SCORES]][%c0,

// Weights by the scales of their values, in codes of the page's largest; where a weight is 0 the scale is not used.
// CHECK: math.exp
// CHECK: %[[LOADED:.*]] = vector.load %[[KEYS]][%{{.*}}, %[[HEAD]], %c9, %c0, %c0]
// CHECK-NEXT: %[[VALUESCALES:.*]] = vector.bitcast %[[LOADED]] : vector<64xi8> to vector<16xf32>
// CHECK: %[[P:.*]] = vector.load %[[SCORES]]
// CHECK-NEXT: %[[SEEN:.*]] = arith.cmpf ogt, %[[P]], %[[ZEROS]]
// CHECK-NEXT: %[[W:.*]] = arith.mulf %[[P]], %[[VALUESCALES]]
// CHECK-NEXT: arith.select %[[SEEN]], %[[W]], %[[ZEROS]]
// CHECK: arith.divf %{{.*}}, %[[MOSTWEIGHT]]
// CHECK: vector.store %{{.*}}, %[[WEIGHTCODES]][%c0,
// CHECK: memref.store %{{.*}}, %[[WEIGHTSCALES]][%c0,

// Values: exact within a page, then one multiply-add.
// CHECK: %[[CHUNK:.*]]:4 = scf.for %{{.*}} = %c0 to %{{.*}} step %c1 iter_args(%[[BEFORE:[a-z0-9]+]] = %[[ZEROS]],
// CHECK: %[[EXACT:.*]]:4 = scf.for %[[QUAD:.*]] = %c0 to %c8 step %c1 iter_args(%[[SUM:[a-z0-9]+]] = %[[NOTHING]],
// CHECK: memref.prefetch %[[KEYS]][%{{.*}}, %[[HEAD]], %[[QUAD]], %c0, %c0], read, locality<2>
// CHECK: %[[VALUE:.*]] = vector.load %[[VALUES]][%{{.*}}, %[[HEAD]], %[[QUAD]], %c0, %c0]
// CHECK: %[[FOUR:.*]] = memref.load %[[WEIGHTCODES]]
// CHECK-NEXT: %[[ALL:.*]] = vector.broadcast %[[FOUR]]
// CHECK-NEXT: %[[WEIGHT:.*]] = vector.bitcast %[[ALL]]
// CHECK-NEXT: kern.byte_dot %[[SUM]], %[[WEIGHT]] by %[[VALUE]]
// CHECK: %[[SCALE:.*]] = memref.load %[[WEIGHTSCALES]]
// CHECK-NEXT: %[[SPLAT:.*]] = vector.broadcast %[[SCALE]]
// CHECK-NEXT: %[[FLOAT:.*]] = arith.sitofp %[[EXACT]]#0
// CHECK-NEXT: math.fma %[[FLOAT]], %[[SPLAT]], %[[BEFORE]]

#schedule = #kern.schedule<target = "avx512vnni", unit_block = 8, rows = 2, columns = 32>
!kv = !lm.kv<heads = 2, dim = 24, page = 32, element = i8>

func.func @step(%batch: !lm.batch, %kv0: !kv) -> !kv {
  %table = lm.weight "embed" : tensor<100x96xf32>
  %q = call @embed(%batch, %table) : (!lm.batch, tensor<100x96xf32>) -> tensor<?x96xf32>
  %a = call @attention(%batch, %q, %kv0) : (!lm.batch, tensor<?x96xf32>, !kv) -> tensor<?x96xf32>
  return %kv0 : !kv
}

func.func private @embed(%batch: !lm.batch, %table: tensor<100x96xf32>) -> tensor<?x96xf32> attributes {kern.schedules = [#schedule]} {
  %y = lm.fused "embed" {
    %x = lm.embed %table at %batch : tensor<100x96xf32> -> tensor<?x96xf32>
    lm.yield %x : tensor<?x96xf32>
  } : tensor<?x96xf32>
  return %y : tensor<?x96xf32>
}

func.func private @attention(%batch: !lm.batch, %q: tensor<?x96xf32>, %kv: !kv) -> tensor<?x96xf32> attributes {kern.schedules = [#schedule]} {
  %r = lm.fused "attention" {
    %a = lm.attention %q over %kv at %batch scale 2.5e-1 causal : tensor<?x96xf32>, !kv -> tensor<?x96xf32>
    lm.yield %a : tensor<?x96xf32>
  } : tensor<?x96xf32>
  return %r : tensor<?x96xf32>
}

// -----

// The append: the head's columns in codes of one scale, lanes behind the head's 24 columns as 0. Keys are biased and stored by quads, their scale behind them;
// values a byte at a time, since other positions' bytes stand between; their scale stands behind the keys too.
// CHECK-LABEL: func.func @kv(
// CHECK-SAME: %[[KEYS:[a-z0-9]*]]: memref<?x1x10x32x4xi8>, %[[VALUES:[a-z0-9]*]]: memref<?x1x8x32x4xi8>
// CHECK-DAG: %[[BIAS:.*]] = arith.constant dense<-128> : vector<16xi8>
// CHECK-DAG: %[[EIGHT:.*]] = arith.constant dense<[true, true, true, true, true, true, true, true, false, false, false, false, false, false, false, false]>
// CHECK: scf.if
// CHECK: %[[PAGE:.*]] = kern.gather_pages
// CHECK-NEXT: %[[PLACE:.*]] = arith.remui
// CHECK: arith.select %[[EIGHT]], %{{.*}}, %{{.*}} : vector<16xi1>, vector<16xf32>
// CHECK: %[[ONE:.*]] = vector.broadcast %{{.*}} : f32 to vector<1xf32>
// CHECK-NEXT: %[[SCALE:.*]] = vector.bitcast %[[ONE]] : vector<1xf32> to vector<4xi8>
// CHECK-NEXT: vector.store %[[SCALE]], %[[KEYS]][%[[PAGE]], %[[HEAD:.*]], %c8, %[[PLACE]], %c0]
// CHECK: %[[BYTES:.*]] = arith.xori %{{.*}}, %[[BIAS]]
// CHECK: %[[QUAD:.*]] = vector.extract_strided_slice %[[BYTES]] {offsets = [4], sizes = [4], strides = [1]}
// CHECK-NEXT: vector.store %[[QUAD]], %[[KEYS]][%[[PAGE]], %[[HEAD]], %c1, %[[PLACE]], %c0]
// CHECK: vector.store %{{.*}}, %[[KEYS]][%[[PAGE]], %[[HEAD]], %c7, %[[PLACE]], %c0]
// CHECK: scf.if
// CHECK: %[[PLACE:.*]] = arith.remui
// CHECK: vector.store %{{.*}}, %[[KEYS]][%{{.*}}, %{{.*}}, %c9, %[[PLACE]], %c0]
// CHECK-NEXT: %[[ROW:.*]] = arith.divui %[[PLACE]], %c4
// CHECK-NEXT: %[[SLOT:.*]] = arith.remui %[[PLACE]], %c4
// CHECK-NOT: arith.xori
// CHECK-COUNT-24: memref.store %{{.*}}, %[[VALUES]][%{{.*}}, %{{.*}}, %[[ROW]], %{{.*}}, %[[SLOT]]]
// CHECK-NOT: memref.store

#schedule = #kern.schedule<target = "avx512vnni", unit_block = 12, rows = 6, columns = 32>
!kv = !lm.kv<heads = 1, dim = 24, page = 32, element = i8>

func.func @step() {
  return
}

func.func private @kv(%batch: !lm.batch, %x: tensor<?x64xf32>, %w: tensor<48x64xf32>, %kv: !kv) -> !kv attributes {kern.schedules = [#schedule]} {
  %r = lm.fused "kv" {
    %y = lm.linear %x, %w : (tensor<?x64xf32>, tensor<48x64xf32>) -> tensor<?x48xf32>
    %k, %v = lm.split %y : tensor<?x48xf32> -> tensor<?x24xf32>, tensor<?x24xf32>
    %next = lm.kv_append %k, %v into %kv at %batch : tensor<?x24xf32>, tensor<?x24xf32>, !kv
    lm.yield %next : !kv
  } : !kv
  return %r : !kv
}
