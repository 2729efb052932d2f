// RUN: lathe-opt %s --convert-lm-to-kern --canonicalize --cse --split-input-file | FileCheck %s

// Causal, 4 query heads on 2 KV heads of 24 columns: a unit is a block of rows, a tile a KV head. Both query heads of every row of the block form one list
// of queries, two of which are a register tile. Scratch has 8 rows x 2 heads; columns are padded to whole vectors.
// CHECK-LABEL: func.func @step() {
// CHECK: %[[Q:.*]] = kern.buffer rows : memref<?x96xf32>
// CHECK: %[[KEYS:.*]] = kern.kv 0 keys : memref<?x2x32x32xf32>
// CHECK-NEXT: %[[VALUES:.*]] = kern.kv 0 : memref<?x2x32x32xf32>
// CHECK-NEXT: %[[OUT:.*]] = kern.buffer rows : memref<?x96xf32>
// CHECK-NEXT: kern.launch @attention(%[[Q]], %[[KEYS]], %[[VALUES]], %[[OUT]])

// CHECK: func.func @attention(%[[Q:[a-z0-9]*]]: memref<?x96xf32>, %[[KEYS:[a-z0-9]*]]: memref<?x2x32x32xf32>, %[[VALUES:[a-z0-9]*]]: memref<?x2x32x32xf32>, %[[OUT:[a-z0-9]*]]: memref<?x96xf32>)
// CHECK-SAME: kern.tiles = 2 : i64, kern.unit = #kern<unit blocks>
// CHECK-DAG: %[[EIGHT:.*]] = arith.constant dense<[true, true, true, true, true, true, true, true, false, false, false, false, false, false, false, false]>
// CHECK-DAG: %[[MASKED:.*]] = arith.constant dense<-1.000000e+30>
// CHECK-DAG: %[[ZERO:.*]] = arith.constant dense<0.000000e+00>
// CHECK-DAG: %[[SCALE:.*]] = arith.constant dense<2.500000e-01>
// CHECK-DAG: %[[COUNTING:.*]] = arith.constant dense<[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]>
// CHECK: %[[QUERIES:.*]] = kern.scratch : memref<16x32xf32>
// CHECK-NEXT: %[[OUTPUTS:.*]] = kern.scratch : memref<16x32xf32>
// CHECK-NEXT: %[[WEIGHTS:.*]] = kern.scratch : memref<16x32xf32>
// CHECK-NEXT: %[[MAXIMA:.*]] = kern.scratch : memref<16x1xf32>
// CHECK-NEXT: %[[SUMS:.*]] = kern.scratch : memref<16x1xf32>
// CHECK-NEXT: %[[POSITIONS:.*]] = kern.scratch : memref<16x1xi32>
// CHECK: scf.for %[[BLOCK:.*]] = %{{.*}} to
// CHECK-NEXT: scf.for %[[HEAD:.*]] = %{{.*}} to
// CHECK-NEXT: %[[FIRST:.*]] = kern.batch block_row[%[[BLOCK]]]
// CHECK-NEXT: %[[NEXT:.*]] = arith.addi %[[BLOCK]], %c1
// CHECK-NEXT: %[[END:.*]] = kern.batch block_row[%[[NEXT]]]
// CHECK: %[[LASTPOSITION:.*]] = kern.batch row_position

// The queries, scaled, the 24 columns padded with zeros.
// CHECK: vector.load %[[Q]]
// CHECK: %[[VALID:.*]] = vector.maskedload %[[Q]][%{{.*}}, %{{.*}}], %[[EIGHT]], %[[ZERO]]
// CHECK-NEXT: %[[SCALED:.*]] = arith.mulf %[[VALID]], %[[SCALE]]
// CHECK-NEXT: vector.store %[[SCALED]], %[[QUERIES]]

// Pages from the first to the last row's; all positions of a page are scored at once, those that a row does not see are masked.
// CHECK: %[[LASTPAGE:.*]] = arith.divui %[[LASTPOSITION]], %c32
// CHECK-NEXT: %[[PAGES:.*]] = arith.addi %[[LASTPAGE]], %c1
// CHECK-NEXT: scf.for %[[LOGICAL:.*]] = %c0 to %[[PAGES]] step %c1
// CHECK-NEXT: %[[PAGE:.*]] = kern.gather_pages %{{.*}}, %[[LOGICAL]]
// CHECK-NEXT: %[[START:.*]] = arith.muli %[[LOGICAL]], %c32
// CHECK-NEXT: %[[SOFAR:.*]] = arith.addi %[[LASTPOSITION]], %c1
// CHECK-NEXT: %[[REST:.*]] = arith.subi %[[SOFAR]], %[[START]]
// CHECK-NEXT: %[[WRITTEN:.*]] = arith.minsi %[[REST]], %c32
// CHECK-NEXT: scf.for %[[TILE:.*]] = %c0 to %{{.*}} step %c2
// CHECK: %[[SCORES:.*]]:4 = scf.for %[[D:.*]] = %c0 to %c24 step %c1
// CHECK-NEXT: %[[KEY0:.*]] = vector.load %[[KEYS]][%[[PAGE]], %[[HEAD]], %[[D]], %c0]
// CHECK-NEXT: %[[KEY1:.*]] = vector.load %[[KEYS]][%[[PAGE]], %[[HEAD]], %[[D]], %c16]
// CHECK-NEXT: %[[ELEMENT:.*]] = memref.load %[[QUERIES]][%[[TILE]], %[[D]]]
// CHECK-NEXT: %[[X:.*]] = vector.broadcast %[[ELEMENT]]
// CHECK-NEXT: math.fma %[[X]], %[[KEY0]], %{{.*}}
// CHECK-NEXT: math.fma %[[X]], %[[KEY1]], %{{.*}}
// CHECK: %[[AT:.*]] = arith.addi %{{.*}}, %[[COUNTING]]
// CHECK-NEXT: %[[SEEN:.*]] = arith.cmpi sle, %[[AT]], %[[POSITION:.*]] :
// CHECK-NEXT: %[[SCORE:.*]] = arith.select %[[SEEN]], %[[SCORES]]#0, %[[MASKED]]
// CHECK: %[[BEFORE:.*]] = memref.load %[[MAXIMA]][%[[TILE]], %c0]
// CHECK-NEXT: %[[LARGEST:.*]] = kern.reduce max
// CHECK-NEXT: %[[NOW:.*]] = arith.maximumf %[[BEFORE]], %[[LARGEST]]
// CHECK-NEXT: %[[NOW16:.*]] = vector.broadcast %[[NOW]]
// CHECK-NEXT: %[[BEFORE16:.*]] = vector.broadcast %[[BEFORE]]
// CHECK-NEXT: %[[LESS:.*]] = arith.subf %[[BEFORE16]], %[[NOW16]]
// CHECK-NEXT: %[[CORRECTION:.*]] = math.exp %[[LESS]]
// CHECK-NEXT: %[[OFF:.*]] = arith.subf %[[SCORE]], %[[NOW16]]
// CHECK-NEXT: %[[EXP:.*]] = math.exp %[[OFF]]
// CHECK-NEXT: %[[P:.*]] = arith.select %[[SEEN]], %[[EXP]], %[[ZERO]]
// CHECK-NEXT: vector.store %[[P]], %[[WEIGHTS]][%[[TILE]], %c0]
// CHECK: %[[TOTAL:.*]] = kern.reduce add
// CHECK: %[[SUM:.*]] = math.fma %{{.*}}, %{{.*}}, %[[TOTAL]] : f32
// CHECK-NEXT: memref.store %[[NOW]], %[[MAXIMA]][%[[TILE]], %c0]
// CHECK-NEXT: memref.store %[[SUM]], %[[SUMS]][%[[TILE]], %c0]
// CHECK: %[[OLD:.*]] = vector.load %[[OUTPUTS]][%[[TILE]], %c0]
// CHECK-NEXT: %[[CORRECTED:.*]] = arith.mulf %[[OLD]], %[[CORRECTION]]
// CHECK-NEXT: vector.store %[[CORRECTED]], %[[OUTPUTS]][%[[TILE]], %c0]

// Values only of positions that were written.
// CHECK: scf.for %[[T:.*]] = %c0 to %[[WRITTEN]] step %c1
// CHECK-NEXT: vector.load %[[VALUES]][%[[PAGE]], %[[HEAD]], %[[T]], %c0]
// CHECK-NEXT: vector.load %[[VALUES]][%[[PAGE]], %[[HEAD]], %[[T]], %c16]
// CHECK-NEXT: memref.load %[[WEIGHTS]][%[[TILE]], %[[T]]]

// The 24 columns of each head, divided by the sum.
// CHECK: %[[ALL:.*]] = memref.load %[[SUMS]]
// CHECK-NEXT: arith.divf %{{.*}}, %[[ALL]]
// CHECK: vector.store %{{.*}}, %[[OUT]]
// CHECK: vector.maskedstore %[[OUT]][%{{.*}}, %{{.*}}], %[[EIGHT]], %{{.*}}

#schedule = #kern.schedule<target = "avx512vnni", unit_block = 8, rows = 2, columns = 32>
!kv = !lm.kv<heads = 2, dim = 24, page = 32, element = f32>

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

// A window of 12: pages before the first row's window are left out, positions before a row's own are masked. A bf16 KV is widened as it is read.
// CHECK-LABEL: func.func @step() {
// CHECK: func.func @attention(%{{.*}}: memref<?x64xf32>, %[[KEYS:[a-z0-9]*]]: memref<?x1x64x16xbf16>, %[[VALUES:[a-z0-9]*]]: memref<?x1x16x64xbf16>, %{{.*}}: memref<?x64xf32>)
// CHECK-DAG: %[[WINDOW:.*]] = arith.constant dense<12> : vector<16xi32>
// CHECK: %[[FIRST:.*]] = kern.batch block_row
// CHECK: %[[POSITION:.*]] = kern.batch row_position[%[[FIRST]]]
// CHECK-NEXT: %[[BEHIND:.*]] = arith.subi %[[POSITION]], %c11
// CHECK-NEXT: %[[FROM:.*]] = arith.maxsi %[[BEHIND]], %c0
// CHECK-NEXT: %[[FIRSTPAGE:.*]] = arith.divui %[[FROM]], %c16
// CHECK: scf.for %{{.*}} = %[[FIRSTPAGE]] to
// CHECK: %[[NARROW:.*]] = vector.load %[[KEYS]]
// CHECK-NEXT: arith.extf %[[NARROW]] : vector<16xbf16> to vector<16xf32>
// CHECK: %[[UPTO:.*]] = arith.cmpi sle, %[[AT:.*]], %[[POSITION16:.*]] :
// CHECK-NEXT: %[[EDGE:.*]] = arith.subi %[[POSITION16]], %[[WINDOW]]
// CHECK-NEXT: %[[WITHIN:.*]] = arith.cmpi sgt, %[[AT]], %[[EDGE]]
// CHECK-NEXT: %[[SEEN:.*]] = arith.andi %[[UPTO]], %[[WITHIN]]
// CHECK-NEXT: arith.select %[[SEEN]]
// CHECK: %[[NARROW:.*]] = vector.load %[[VALUES]]
// CHECK-NEXT: arith.extf %[[NARROW]]
// CHECK-NOT: maskedstore

#schedule = #kern.schedule<target = "avx512vnni", unit_block = 8, rows = 4, columns = 32>
!kv = !lm.kv<heads = 1, dim = 64, page = 16, element = bf16>

func.func @step(%batch: !lm.batch, %kv0: !kv) -> !kv {
  %table = lm.weight "embed" : tensor<100x64xf32>
  %q = call @embed(%batch, %table) : (!lm.batch, tensor<100x64xf32>) -> tensor<?x64xf32>
  %a = call @attention(%batch, %q, %kv0) : (!lm.batch, tensor<?x64xf32>, !kv) -> tensor<?x64xf32>
  return %kv0 : !kv
}

func.func private @embed(%batch: !lm.batch, %table: tensor<100x64xf32>) -> tensor<?x64xf32> attributes {kern.schedules = [#schedule]} {
  %y = lm.fused "embed" {
    %x = lm.embed %table at %batch : tensor<100x64xf32> -> tensor<?x64xf32>
    lm.yield %x : tensor<?x64xf32>
  } : tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}

func.func private @attention(%batch: !lm.batch, %q: tensor<?x64xf32>, %kv: !kv) -> tensor<?x64xf32> attributes {kern.schedules = [#schedule]} {
  %r = lm.fused "attention" {
    %a = lm.attention %q over %kv at %batch scale 1.25e-1 window 12 : tensor<?x64xf32>, !kv -> tensor<?x64xf32>
    lm.yield %a : tensor<?x64xf32>
  } : tensor<?x64xf32>
  return %r : tensor<?x64xf32>
}
