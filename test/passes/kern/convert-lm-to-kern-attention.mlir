// RUN: lathe-opt %s --convert-lm-to-kern --canonicalize --cse --split-input-file | FileCheck %s

// Causal, 4 query heads on 2 KV heads of 24 columns: a unit is an item (a block of rows, a range of chunks), a tile a KV head. Both query heads of every row of the
// block form one list of queries, two of which are a register tile. Scratch has 8 rows x 2 heads; columns are padded to whole vectors.
// CHECK-LABEL: func.func @step() {
// CHECK: %[[Q:.*]] = kern.buffer rows : memref<?x96xf32>
// CHECK: %[[KEYS:.*]] = kern.kv 0 keys : memref<?x2x32x32xf32>
// CHECK-NEXT: %[[VALUES:.*]] = kern.kv 0 : memref<?x2x32x32xf32>
// CHECK-NEXT: %[[PARTIALS:.*]] = kern.buffer partials : memref<?x192xf32>
// CHECK-NEXT: %[[OUT:.*]] = kern.buffer rows : memref<?x96xf32>
// CHECK-NEXT: kern.launch @attention(%[[Q]], %[[KEYS]], %[[VALUES]], %[[PARTIALS]], %[[OUT]])

// CHECK: func.func @attention(%[[Q:[a-z0-9]*]]: memref<?x96xf32>, %[[KEYS:[a-z0-9]*]]: memref<?x2x32x32xf32>, %[[VALUES:[a-z0-9]*]]: memref<?x2x32x32xf32>, %[[PARTIALS:[a-z0-9]*]]: memref<?x192xf32>, %[[OUT:[a-z0-9]*]]: memref<?x96xf32>)
// CHECK-SAME: kern.tiles = 2 : i64, kern.unit = #kern<unit items>
// CHECK-DAG: %[[MASKED:.*]] = arith.constant dense<-1.000000e+30>
// CHECK-DAG: %[[EIGHT:.*]] = arith.constant dense<[true, true, true, true, true, true, true, true, false, false, false, false, false, false, false, false]>
// CHECK-DAG: %[[ZERO:.*]] = arith.constant dense<0.000000e+00>
// CHECK-DAG: %[[SCALE:.*]] = arith.constant dense<2.500000e-01>
// CHECK: %[[QUERIES:.*]] = kern.scratch : memref<16x32xf32>
// CHECK-NEXT: %[[OUTPUTS:.*]] = kern.scratch : memref<16x32xf32>
// CHECK-NEXT: %[[MAXIMA:.*]] = kern.scratch : memref<16x1xf32>
// CHECK-NEXT: %[[SUMS:.*]] = kern.scratch : memref<16x1xf32>
// CHECK-NEXT: %[[SCORES:.*]] = kern.scratch : memref<2x256xf32>
// CHECK: scf.for %[[ITEM:.*]] = %{{.*}} to
// CHECK-NEXT: scf.for %[[HEAD:.*]] = %{{.*}} to
// CHECK-NEXT: %[[FIRST:.*]] = kern.batch item_row[%[[ITEM]]]
// CHECK-NEXT: %[[END:.*]] = kern.batch item_end[%[[ITEM]]]
// CHECK-NEXT: %[[ROWS:.*]] = arith.subi %[[END]], %[[FIRST]]
// CHECK: %[[LASTPOSITION:.*]] = kern.batch row_position

// The queries, scaled, the 24 columns padded with zeros.
// CHECK: vector.load %[[Q]]
// CHECK: %[[VALID:.*]] = vector.maskedload %[[Q]][%{{.*}}, %{{.*}}], %[[EIGHT]], %[[ZERO]]
// CHECK-NEXT: %[[SCALED:.*]] = arith.mulf %[[VALID]], %[[SCALE]]
// CHECK-NEXT: vector.store %[[SCALED]], %[[QUERIES]]

// The item's chunks, a place for the partial results of each; a chunk ends with the page that the last row sees.
// CHECK: %[[COUNT:.*]] = kern.batch item_count[%[[ITEM]]]
// CHECK-NEXT: %[[SPLIT:.*]] = arith.cmpi sgt, %[[COUNT]], %c1
// CHECK: %[[CHUNKEND:.*]] = kern.batch item_chunk_end[%[[ITEM]]]
// CHECK-NEXT: %[[RECORD:.*]] = kern.batch item_record[%[[ITEM]]]
// CHECK-NEXT: scf.for %[[CHUNK:.*]] = %{{.*}} to %[[CHUNKEND]]
// CHECK-NEXT: %[[ROWSBEFORE:.*]] = arith.muli %[[CHUNK]], %[[ROWS]]
// CHECK-NEXT: %[[PLACE:.*]] = arith.addi %[[RECORD]], %[[ROWSBEFORE]]
// CHECK-NEXT: scf.for %[[TILE:.*]] = %c0 to %{{.*}} step %c2
// CHECK: %[[LASTPAGE:.*]] = arith.divui %[[LASTPOSITION]], %c32

// Scores: three pages at a time, the next ones and the values asked for.
// CHECK: scf.for %{{.*}} = %c0 to %{{.*}} step %c3
// CHECK: %[[SUM:.*]]:12 = scf.for %[[D:.*]] = %c0 to %c24 step %c1
// CHECK: memref.load %[[QUERIES]][%[[TILE]], %[[D]]]
// CHECK: memref.prefetch %[[KEYS]][%{{.*}}, %[[HEAD]], %[[D]], %c0], read, locality<3>
// CHECK: memref.prefetch %[[VALUES]][%{{.*}}, %[[HEAD]], %{{.*}}, %{{.*}}], read, locality<2>
// CHECK: %[[KEY:.*]] = vector.load %[[KEYS]][%{{.*}}, %[[HEAD]], %[[D]], %c0]
// CHECK-NEXT: math.fma %{{.*}}, %[[KEY]], %{{.*}}
// CHECK-NEXT: math.fma %{{.*}}, %[[KEY]], %{{.*}}
// CHECK: vector.store %[[SUM]]#0, %[[SCORES]][%c0, %{{.*}}]

// Positions that a row does not see are masked; one maximum and one sum for the chunk.
// CHECK: %[[SEEN:.*]] = arith.cmpi sle
// CHECK-NEXT: %[[SCORE:.*]] = vector.load %[[SCORES]][%c0, %[[COLUMN:.*]]]
// CHECK-NEXT: arith.select %[[SEEN]], %[[SCORE]], %[[MASKED]]
// CHECK: kern.reduce max
// CHECK: %[[SCORE:.*]] = vector.load %[[SCORES]][%c0
// CHECK-NEXT: %[[SEEN:.*]] = arith.cmpf une, %[[SCORE]], %[[MASKED]]
// CHECK: %[[EXP:.*]] = math.exp
// CHECK-NEXT: %[[P:.*]] = arith.select %[[SEEN]], %[[EXP]], %[[ZERO]]
// CHECK-NEXT: vector.store %[[P]], %[[SCORES]]
// CHECK: kern.reduce add

// Values only of positions that were written, while the next chunk's keys are asked for.
// CHECK: %[[WRITTEN:.*]] = arith.minsi %{{.*}}, %c32
// CHECK: scf.for %[[T:.*]] = %c0 to %[[WRITTEN]] step %c1
// CHECK: memref.prefetch %[[KEYS]][%{{.*}}, %[[HEAD]], %[[T]], %c0], read, locality<2>
// CHECK: vector.load %[[VALUES]][%[[PAGE:.*]], %[[HEAD]], %[[T]], %c0]
// CHECK-NEXT: vector.load %[[VALUES]][%[[PAGE]], %[[HEAD]], %[[T]], %c16]

// A split block stores partial results: 32 columns, the maximum, the sum. A whole one takes them in.
// CHECK: scf.if %[[SPLIT]] {
// CHECK: vector.store %{{.*}}, %[[PARTIALS]]
// CHECK: %[[MAXIMUM:.*]] = arith.addi %{{.*}}, %c32
// CHECK-NEXT: memref.store %{{.*}}, %[[PARTIALS]][%{{.*}}, %[[MAXIMUM]]]
// CHECK: } else {
// CHECK-NEXT: %[[BEFORE:.*]] = memref.load %[[MAXIMA]]
// CHECK-NEXT: %[[LARGER:.*]] = arith.cmpf ogt, %[[BEFORE]], %[[MAX:.*]] :
// CHECK-NEXT: arith.select %[[LARGER]], %[[BEFORE]], %[[MAX]]
// CHECK: vector.store %{{.*}}, %[[OUTPUTS]]

// Who arrives last takes in all chunks of a split block; then both divide by the sum and store 24 columns of each head.
// CHECK: scf.if %[[SPLIT]] {
// CHECK: %[[LAST:.*]] = kern.arrive %{{.*}} of %[[COUNT]]
// CHECK-NEXT: scf.if %[[LAST]] {
// CHECK: memref.load %[[PARTIALS]]
// CHECK: arith.divf
// CHECK: } else {
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

// A window of 12: pages before the first row's window are left out, positions before a row's own are masked. A bf16 KV is widened as it is read. One query head a KV head:
// whole tiles of four rows, then single ones.
// CHECK-LABEL: func.func @step() {
// CHECK: func.func @attention(%{{.*}}: memref<?x64xf32>, %[[KEYS:[a-z0-9]*]]: memref<?x1x64x16xbf16>, %[[VALUES:[a-z0-9]*]]: memref<?x1x16x64xbf16>, %{{.*}}: memref<?x96xf32>, %{{.*}}: memref<?x64xf32>)
// CHECK: %[[FIRST:.*]] = kern.batch item_row
// CHECK: %[[POSITION:.*]] = kern.batch row_position[%[[FIRST]]]
// CHECK-NEXT: %[[BEHIND:.*]] = arith.subi %[[POSITION]], %c11
// CHECK-NEXT: %[[FROM:.*]] = arith.maxsi %[[BEHIND]], %c0
// CHECK-NEXT: %[[FIRSTPAGE:.*]] = arith.divui %[[FROM]], %c16
// CHECK: %[[FIRSTCHUNK:.*]] = arith.divui %[[FIRSTPAGE]], %c16
// CHECK: arith.maxsi %{{.*}}, %[[FIRSTCHUNK]]
// CHECK: %[[WHOLE:.*]] = arith.muli %{{.*}}, %c4
// CHECK-NEXT: scf.for %{{.*}} = %c0 to %[[WHOLE]] step %c4
// CHECK: %[[NARROW:.*]] = vector.load %[[KEYS]]
// CHECK-NEXT: arith.extf %[[NARROW]] : vector<16xbf16> to vector<16xf32>
// CHECK: %[[UPTO:.*]] = arith.cmpi sle, %[[AT:.*]], %[[POSITION16:.*]] :
// CHECK: %[[EDGE:.*]] = arith.subi %[[POSITION16]]
// CHECK-NEXT: %[[WITHIN:.*]] = arith.cmpi sgt, %[[AT]], %[[EDGE]]
// CHECK-NEXT: arith.andi %[[UPTO]], %[[WITHIN]]
// CHECK: %[[NARROW:.*]] = vector.load %[[VALUES]]
// CHECK-NEXT: arith.extf %[[NARROW]]
// CHECK: scf.for %{{.*}} = %[[WHOLE]] to %{{.*}} step %c1
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
