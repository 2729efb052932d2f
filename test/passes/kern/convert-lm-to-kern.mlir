// RUN: lathe-opt %s --convert-lm-to-kern=context=600 --canonicalize --cse --split-input-file | FileCheck %s

// The step becomes the launches of a host program: one kern.weight for what several kernels read, buffers with rows padded to panels, the result outside.
// A table of floats is read a column at a time; a linear without a prologue reads the activations where they are; a head copies the selected rows first.
// CHECK-LABEL: func.func @step() {
// CHECK-NEXT: %[[TABLE:.*]] = kern.weight values ["embed"] pack <order = flat, dim = 1> k 70 : memref<4x70x32xf32>
// CHECK-NEXT: %[[X:.*]] = kern.buffer rows : memref<?x96xf32>
// CHECK-NEXT: kern.launch @embed(%[[TABLE]], %[[X]])
// CHECK-NEXT: %[[W:.*]] = kern.weight values ["w"] pack <order = flat, dim = 1> k 70 : memref<3x70x32xf32>
// CHECK-NEXT: %[[Y:.*]] = kern.buffer rows : memref<?x96xf32>
// CHECK-NEXT: kern.launch @linear(%[[X]], %[[W]], %[[Y]])
// CHECK-NEXT: %[[LOGITS:.*]] = kern.buffer logit_rows logits : memref<?x128xf32>
// CHECK-NEXT: kern.launch @head(%[[Y]], %[[TABLE]], %[[LOGITS]])
// CHECK-NEXT: return
// CHECK-NOT: lm.

// CHECK: module @avx512vnni attributes {kern.tier = "avx512vnni"} {
// CHECK-NEXT: func.func @embed(%[[TABLE:.*]]: memref<4x70x32xf32>, %[[OUT:.*]]: memref<?x96xf32>)
// CHECK-SAME: kern.fused = "embed", kern.schedule = #kern.schedule<target = "avx512vnni", unit_block = 12, rows = 6, columns = 32>, kern.tile_bytes = 0 : i64, kern.tiles = 1 : i64, kern.unit = #kern<unit rows>, kern.unit_flops = 0 : i64
// CHECK: scf.for %[[ROW:.*]] = %{{.*}} to
// CHECK-NEXT: %[[TOKEN:.*]] = kern.batch token_ids[%[[ROW]]]
// CHECK-NEXT: %[[PANEL:.*]] = arith.divui %[[TOKEN]], %c32
// CHECK-NEXT: %[[LANE:.*]] = arith.remui %[[TOKEN]], %c32
// CHECK-NEXT: scf.for %[[COLUMN:.*]] = %c0 to %c70 step %c1
// CHECK-NEXT: %[[VALUE:.*]] = memref.load %[[TABLE]][%[[PANEL]], %[[COLUMN]], %[[LANE]]]
// CHECK-NEXT: memref.store %[[VALUE]], %[[OUT]][%[[ROW]], %[[COLUMN]]]

// CHECK: func.func @linear(%[[A:.*]]: memref<?x96xf32>, %[[W:.*]]: memref<3x70x32xf32>, %[[OUT:.*]]: memref<?x96xf32>)
// CHECK-SAME: kern.tile_bytes = 8960 : i64, kern.tiles = 3 : i64, kern.unit = #kern<unit rows>, kern.unit_flops = 9800 : i64
// CHECK: %[[U0:.*]], %[[U1:.*]], %[[T0:.*]], %[[T1:.*]] = kern.program_id
// CHECK-NEXT: %[[TILE:.*]] = kern.scratch : memref<6x32xf32>
// CHECK-NEXT: scf.for %[[T:.*]] = %[[T0]] to %[[T1]] step %c1
// CHECK-NEXT: %[[TOTAL:.*]] = arith.subi %[[U1]], %[[U0]]
// CHECK-NEXT: %[[PARTS:.*]] = arith.ceildivui %[[TOTAL]], %c6
// CHECK-NEXT: scf.for %[[PART:.*]] = %c0 to %[[PARTS]] step %c1
// CHECK-NEXT: %[[BEFORE:.*]] = arith.muli %[[TOTAL]], %[[PART]]
// CHECK-NEXT: %[[BEGIN:.*]] = arith.divui %[[BEFORE]], %[[PARTS]]
// CHECK-NEXT: %[[UNIT:.*]] = arith.addi %[[U0]], %[[BEGIN]]
// CHECK-NEXT: %[[PART1:.*]] = arith.addi %[[PART]], %c1
// CHECK: %[[END:.*]] = arith.addi %[[U0]], %{{.*}}
// CHECK-NEXT: %[[COUNT:.*]] = arith.subi %[[END]], %[[UNIT]]
// One part of few rows streams its panel; a larger one, if it is the last, asks for the panel of the next tile.
// CHECK-NEXT: %[[ONE:.*]] = arith.cmpi eq, %[[PARTS]], %c1
// CHECK-NEXT: %[[FEW:.*]] = arith.cmpi ule, %[[COUNT]], %c3
// CHECK-NEXT: %[[LAST:.*]] = arith.cmpi eq, %[[PART1]], %[[PARTS]]
// CHECK-NEXT: %[[T2:.*]] = arith.addi %[[T]], %c1
// CHECK-NEXT: %[[FOLLOWS:.*]] = arith.cmpi ne, %[[T2]], %[[T1]]
// CHECK-NEXT: %[[STREAMS:.*]] = arith.andi %[[ONE]], %[[FEW]]
// CHECK-NEXT: %[[NEXT:.*]] = arith.andi %[[LAST]], %[[FOLLOWS]]
// CHECK-NEXT: %[[BEHIND:.*]] = arith.select %[[NEXT]], %c8960, %c0
// CHECK-NEXT: %[[AHEAD:.*]] = arith.select %[[STREAMS]], %c2048, %[[BEHIND]]
// CHECK-NEXT: kern.dot %[[COUNT]] of 6 rows(%[[A]][%[[UNIT]]]) by(%[[W]][%[[T]]]) into %[[TILE]][%c0] k 70 ahead %[[AHEAD]] :
// CHECK-NEXT: scf.for %[[SLOT:.*]] = %c0 to %[[COUNT]] step %c1
// CHECK-NEXT: %[[ROW:.*]] = arith.addi %[[UNIT]], %[[SLOT]]
// CHECK-NEXT: %[[LOW:.*]] = vector.load %[[TILE]][%[[SLOT]], %c0]
// CHECK-NEXT: %[[AT:.*]] = arith.muli %[[T]], %c32
// CHECK-NEXT: vector.store %[[LOW]], %[[OUT]][%[[ROW]], %[[AT]]]
// CHECK-NEXT: %[[HIGH:.*]] = vector.load %[[TILE]][%[[SLOT]], %c16]
// CHECK-NEXT: %[[AT16:.*]] = arith.addi %[[AT]], %c16
// CHECK-NEXT: vector.store %[[HIGH]], %[[OUT]][%[[ROW]], %[[AT16]]]

// CHECK: func.func @head(%[[A:.*]]: memref<?x96xf32>, %[[W:.*]]: memref<4x70x32xf32>, %[[OUT:.*]]: memref<?x128xf32>)
// CHECK-SAME: kern.fused = "select_rows, linear"
// CHECK-SAME: kern.unit = #kern<unit logit_rows>
// CHECK-DAG: %[[ZERO:.*]] = arith.constant dense<0.000000e+00> : vector<16xf32>
// CHECK-DAG: %[[SIX:.*]] = arith.constant dense<[true, true, true, true, true, true, false, false, false, false, false, false, false, false, false, false]>
// CHECK: %[[U0:.*]], %[[U1:.*]], %{{.*}}, %{{.*}} = kern.program_id
// CHECK-NEXT: %[[ROWS:.*]] = kern.scratch : memref<12x80xf32>
// CHECK-NEXT: %[[PREPARED:.*]] = kern.prepared
// CHECK-NEXT: %[[FRESH:.*]] = arith.{{.*}} %[[PREPARED]]
// CHECK-NEXT: scf.if %[[FRESH]]
// CHECK-NEXT: scf.for %[[UNIT:.*]] = %[[U0]] to %[[U1]] step %c1
// CHECK-NEXT: %[[SLOT:.*]] = arith.subi %[[UNIT]], %[[U0]]
// CHECK-NEXT: %[[ROW:.*]] = kern.batch logit_row[%[[UNIT]]]
// CHECK-NEXT: scf.for %[[COLUMN:.*]] = %c0 to %c64 step %c16
// CHECK-NEXT: %[[PIECE:.*]] = vector.load %[[A]][%[[ROW]], %[[COLUMN]]]
// CHECK-NEXT: vector.store %[[PIECE]], %[[ROWS]][%[[SLOT]], %[[COLUMN]]]
// CHECK-NEXT: }
// CHECK-NEXT: %[[VALID:.*]] = vector.maskedload %[[A]][%[[ROW]], %c64], %[[SIX]], %[[ZERO]]
// CHECK-NEXT: vector.store %[[VALID]], %[[ROWS]][%[[SLOT]], %c64]
// CHECK: kern.dot %{{.*}} of 6 rows(%[[ROWS]][%{{.*}}]) by(%[[W]][%{{.*}}]) into
// CHECK-NOT: lm.

#schedule = #kern.schedule<target = "avx512vnni", unit_block = 12, rows = 6, columns = 32>

func.func @step(%batch: !lm.batch) -> tensor<?x100xf32> {
  %table = lm.weight "embed" : tensor<100x70xf32>
  %x = call @embed(%batch, %table) : (!lm.batch, tensor<100x70xf32>) -> tensor<?x70xf32>
  %w = lm.weight "w" : tensor<70x70xf32>
  %y = call @linear(%x, %w) : (tensor<?x70xf32>, tensor<70x70xf32>) -> tensor<?x70xf32>
  %z = call @head(%batch, %y, %table) : (!lm.batch, tensor<?x70xf32>, tensor<100x70xf32>) -> tensor<?x100xf32>
  return %z : tensor<?x100xf32>
}

func.func private @embed(%batch: !lm.batch, %table: tensor<100x70xf32>) -> tensor<?x70xf32> attributes {kern.schedules = [#schedule]} {
  %y = lm.fused "embed" {
    %x = lm.embed %table at %batch : tensor<100x70xf32> -> tensor<?x70xf32>
    lm.yield %x : tensor<?x70xf32>
  } : tensor<?x70xf32>
  return %y : tensor<?x70xf32>
}

func.func private @linear(%x: tensor<?x70xf32>, %w: tensor<70x70xf32>) -> tensor<?x70xf32> attributes {kern.schedules = [#schedule]} {
  %r = lm.fused "linear" {
    %y = lm.linear %x, %w : (tensor<?x70xf32>, tensor<70x70xf32>) -> tensor<?x70xf32>
    lm.yield %y : tensor<?x70xf32>
  } : tensor<?x70xf32>
  return %r : tensor<?x70xf32>
}

func.func private @head(%batch: !lm.batch, %x: tensor<?x70xf32>, %w: tensor<100x70xf32>) -> tensor<?x100xf32> attributes {kern.schedules = [#schedule]} {
  %r = lm.fused "head" {
    %s = lm.select_rows %x at %batch : tensor<?x70xf32>
    %y = lm.linear %s, %w : (tensor<?x70xf32>, tensor<100x70xf32>) -> tensor<?x100xf32>
    lm.yield %y : tensor<?x100xf32>
  } : tensor<?x100xf32>
  return %r : tensor<?x100xf32>
}

// -----

// Quantised: codes and scales are two arrays. The embedding reads four codes of a row at a time, the last four with padding behind the 70th column.
// A norm is measured, then applied as each group is quantised, once per row; the short last group of 70 - 64 columns is masked.
// CHECK-LABEL: func.func @step() {
// CHECK-NEXT: %[[CODES:.*]] = kern.weight codes ["embed"] pack <order = flat, dim = 1> coding <group = 64, scale = bf16> k 70 : memref<4x18x32x4xi8>
// CHECK-NEXT: %[[SCALES:.*]] = kern.weight scales ["embed"] pack <order = flat, dim = 1> coding <group = 64, scale = bf16> k 70 : memref<4x2x32xbf16>
// CHECK-NEXT: %[[X:.*]] = kern.buffer rows : memref<?x96xf32>
// CHECK-NEXT: kern.launch @embed(%[[CODES]], %[[SCALES]], %[[X]])
// CHECK-NEXT: %[[CODES:.*]] = kern.weight codes ["w"] {{.*}} : memref<2x18x32x4xi8>
// CHECK-NEXT: %[[SCALES:.*]] = kern.weight scales ["w"] {{.*}} : memref<2x2x32xbf16>
// CHECK-NEXT: %[[GAIN:.*]] = kern.weight vector ["gain"] k 1 : memref<80xf32>
// CHECK-NEXT: %[[Y:.*]] = kern.buffer rows : memref<?x64xf32>
// CHECK-NEXT: kern.launch @norm_linear(%[[X]], %[[CODES]], %[[SCALES]], %[[GAIN]], %[[Y]])

// CHECK: func.func @embed(%[[CODES:.*]]: memref<4x18x32x4xi8>, %[[SCALES:.*]]: memref<4x2x32xbf16>, %[[OUT:.*]]: memref<?x96xf32>)
// CHECK-DAG: %[[BIAS:.*]] = arith.constant dense<128> : vector<4xi32>
// CHECK: scf.for %[[QUAD:.*]] = %c0 to %c18 step %c1
// CHECK-NEXT: %[[COLUMN:.*]] = arith.muli %[[QUAD]], %c4
// CHECK-NEXT: %[[BYTES:.*]] = vector.load %[[CODES]][%[[PANEL:.*]], %[[QUAD]], %[[LANE:.*]], %c0] : {{.*}}, vector<4xi8>
// CHECK-NEXT: %[[WIDE:.*]] = arith.extui %[[BYTES]]
// CHECK-NEXT: %[[CODE:.*]] = arith.subi %[[WIDE]], %[[BIAS]]
// CHECK-NEXT: %[[GROUP:.*]] = arith.divui %[[QUAD]], %c16
// CHECK-NEXT: %[[NARROW:.*]] = memref.load %[[SCALES]][%[[PANEL]], %[[GROUP]], %[[LANE]]]
// CHECK-NEXT: %[[SCALE:.*]] = arith.extf %[[NARROW]]
// CHECK: arith.mulf
// CHECK-NEXT: vector.store %{{.*}}, %[[OUT]][%{{.*}}, %[[COLUMN]]]

// CHECK: func.func @norm_linear(%[[A:.*]]: memref<?x96xf32>, %[[CODES:.*]]: memref<2x18x32x4xi8>, %[[SCALES:.*]]: memref<2x2x32xbf16>, %[[GAIN:.*]]: memref<80xf32>, %[[OUT:.*]]: memref<?x64xf32>)
// CHECK-SAME: kern.fused = "norm, quantize, linear"
// CHECK-SAME: kern.tile_bytes = 2432 : i64, kern.tiles = 2 : i64
// CHECK-DAG: %[[ZERO:.*]] = arith.constant dense<0.000000e+00> : vector<16xf32>
// CHECK-DAG: %[[SIX:.*]] = arith.constant dense<[true, true, true, true, true, true, false, false, false, false, false, false, false, false, false, false]>
// CHECK-DAG: %[[N:.*]] = arith.constant 7.000000e+01 : f32
// CHECK-DAG: %[[EPS:.*]] = arith.constant dense<9.99999974E-6> : vector<16xf32>
// CHECK: %[[A8:.*]] = kern.scratch : memref<12x80xi8>
// CHECK-NEXT: %[[AS:.*]] = kern.scratch : memref<12x2xf32>
// CHECK-NEXT: %[[AO:.*]] = kern.scratch : memref<12x2xi32>
// CHECK: %[[SUM:.*]] = scf.for %{{.*}} = %c0 to %c64 step %c16 iter_args(
// CHECK: %[[VALID:.*]] = vector.maskedload %[[A]][%{{.*}}, %c64], %[[SIX]], %[[ZERO]]
// CHECK-NEXT: %[[SQUARE:.*]] = arith.mulf %[[VALID]], %[[VALID]]
// CHECK-NEXT: %[[ALL:.*]] = arith.addf %[[SUM]], %[[SQUARE]]
// CHECK-NEXT: %[[TOTAL:.*]] = kern.reduce add %[[ALL]]
// CHECK-NEXT: %[[MEAN:.*]] = arith.divf %[[TOTAL]], %[[N]]
// CHECK-NEXT: %[[SPLAT:.*]] = vector.broadcast %[[MEAN]]
// CHECK-NEXT: %[[MOVED:.*]] = arith.addf %[[SPLAT]], %[[EPS]]
// CHECK-NEXT: %[[ROOT:.*]] = math.sqrt %[[MOVED]]
// CHECK-NEXT: %[[INVERSE:.*]] = arith.divf %{{.*}}, %[[ROOT]]
// CHECK: kern.reduce max
// CHECK: memref.store %{{.*}}, %[[AS]][%[[SLOT:.*]], %c0]
// CHECK-COUNT-4: vector.store %{{.*}}, %[[A8]][%[[SLOT]], %{{.*}}]
// CHECK: %[[CODESUM:.*]] = kern.reduce add %{{.*}} : vector<16xi32> -> i32
// CHECK-NEXT: %[[OFFSET:.*]] = arith.muli %[[CODESUM]], %c-128_i32
// CHECK-NEXT: memref.store %[[OFFSET]], %[[AO]][%[[SLOT]], %c0]
// CHECK: arith.select %[[SIX]]
// CHECK: %[[MOST:.*]] = kern.reduce max
// CHECK-NEXT: %[[SOME:.*]] = arith.cmpf ogt, %[[MOST]]
// CHECK-NEXT: %[[FACTOR:.*]] = arith.divf %{{.*}}, %[[MOST]]
// CHECK-NEXT: arith.select %[[SOME]], %[[FACTOR]]
// CHECK: memref.store %{{.*}}, %[[AS]][%[[SLOT]], %c1]
// CHECK: math.roundeven
// CHECK-NEXT: arith.fptosi
// CHECK: vector.store %{{.*}}, %[[A8]][%[[SLOT]], %c64]
// CHECK: memref.store %{{.*}}, %[[AO]][%[[SLOT]], %c1]
// CHECK: kern.dot %{{.*}} of 6 rows(%[[A8]], %[[AS]], %[[AO]][%{{.*}}]) by(%[[CODES]], %[[SCALES]][%{{.*}}]) into %{{.*}}[%c0] k 70 coding <group = 64, scale = bf16> input_group 64 ahead %{{.*}} :

#schedule = #kern.schedule<target = "avx512vnni", unit_block = 12, rows = 6, columns = 32>
!table = tensor<100x70xi8, #lm.quant<group = 64, scale = bf16>>
!w8 = tensor<40x70xi8, #lm.quant<group = 64, scale = bf16>>
!x8 = tensor<?x70xi8, #lm.quant<group = 64, scale = f32>>

func.func @step(%batch: !lm.batch) {
  %table = lm.weight "embed" : !table
  %x = call @embed(%batch, %table) : (!lm.batch, !table) -> tensor<?x70xf32>
  %g = lm.weight "gain" : tensor<70xf32>
  %w = lm.weight "w" : !w8
  %y = call @norm_linear(%x, %g, %w) : (tensor<?x70xf32>, tensor<70xf32>, !w8) -> tensor<?x40xf32>
  return
}

func.func private @embed(%batch: !lm.batch, %table: !table) -> tensor<?x70xf32> attributes {kern.schedules = [#schedule]} {
  %y = lm.fused "embed" {
    %x = lm.embed %table at %batch : !table -> tensor<?x70xf32>
    lm.yield %x : tensor<?x70xf32>
  } : tensor<?x70xf32>
  return %y : tensor<?x70xf32>
}

func.func private @norm_linear(%x: tensor<?x70xf32>, %g: tensor<70xf32>, %w: !w8) -> tensor<?x40xf32> attributes {kern.schedules = [#schedule]} {
  %r = lm.fused "norm_linear" {
    %n = lm.norm rms %x, %g eps 1.0e-5 : tensor<?x70xf32>, tensor<70xf32> -> tensor<?x70xf32>
    %x8 = lm.quantize %n : tensor<?x70xf32> -> !x8
    %y = lm.linear %x8, %w : (!x8, !w8) -> tensor<?x40xf32>
    lm.yield %y : tensor<?x40xf32>
  } : tensor<?x40xf32>
  return %r : tensor<?x40xf32>
}

// -----

// With tiles: scratch of as many more rows as a tile reads, whose scales are zero; calls of at least 5 rows unpack each panel once, before the register tiles.
// CHECK-LABEL: module @amx
// CHECK: func.func @quantize_linear(
// CHECK-SAME: %{{.*}}: memref<?x96xf32>, %[[CODES:.*]]: memref<2x18x32x4xi8>, %[[SCALES:.*]]: memref<2x3x32xbf16>
// CHECK: %[[U0:.*]], %[[U1:.*]], %{{.*}}, %{{.*}} = kern.program_id
// CHECK: %[[A8:.*]] = kern.scratch : memref<36x80xi8>
// CHECK: %[[AS:.*]] = kern.scratch : memref<36x3xf32>
// CHECK: %[[AO:.*]] = kern.scratch : memref<36x3xi32>
// CHECK: kern.prepared
// CHECK: scf.if
// CHECK: %[[BEHIND:.*]] = arith.subi %[[U1]], %[[U0]]
// CHECK: %[[END:.*]] = arith.addi %[[BEHIND]], %c12
// CHECK: scf.for %[[ROW:.*]] = %[[BEHIND]] to %[[END]]
// CHECK: vector.maskedstore %[[AS]][%[[ROW]], %c0]
// CHECK: %[[BYTES:.*]] = kern.scratch : memref<1x24x32x4xi8>
// CHECK: %[[TOTAL:.*]] = arith.subi %[[U1]], %[[U0]]
// CHECK: %[[ENOUGH:.*]] = arith.cmpi sge, %[[TOTAL]], %c5
// CHECK: scf.for %[[T:.*]] =
// CHECK-NEXT: scf.if %[[ENOUGH]] {
// CHECK: kern.unpack(%[[CODES]], %[[SCALES]][%[[T]]]) into %[[BYTES]][%c0] k 70 coding <group = 32, scale = bf16> input_group 32
// CHECK: scf.for
// CHECK: kern.dot %{{.*}} of 12 rows(%[[A8]], %[[AS]], %[[AO]][%{{.*}}]) by(%[[CODES]], %[[SCALES]][%[[T]]]) into %{{.*}}[%c0] unpacked %[[BYTES]][%c0] k 70

#amx = #kern.schedule<target = "amx", unit_block = 24, rows = 12, columns = 32, amx_rows = 5>
!w8 = tensor<40x70xi8, #lm.quant<group = 32, scale = bf16>>
!x8 = tensor<?x70xi8, #lm.quant<group = 32, scale = f32>>

func.func @step(%batch: !lm.batch) {
  %table = lm.weight "embed" : tensor<100x70xf32>
  %x = call @embed(%batch, %table) : (!lm.batch, tensor<100x70xf32>) -> tensor<?x70xf32>
  %w = lm.weight "w" : !w8
  %y = call @quantize_linear(%x, %w) : (tensor<?x70xf32>, !w8) -> tensor<?x40xf32>
  return
}

func.func private @embed(%batch: !lm.batch, %table: tensor<100x70xf32>) -> tensor<?x70xf32> attributes {kern.schedules = [#amx]} {
  %y = lm.fused "embed" {
    %x = lm.embed %table at %batch : tensor<100x70xf32> -> tensor<?x70xf32>
    lm.yield %x : tensor<?x70xf32>
  } : tensor<?x70xf32>
  return %y : tensor<?x70xf32>
}

func.func private @quantize_linear(%x: tensor<?x70xf32>, %w: !w8) -> tensor<?x40xf32> attributes {kern.schedules = [#amx]} {
  %r = lm.fused "quantize_linear" {
    %x8 = lm.quantize %x : tensor<?x70xf32> -> !x8
    %y = lm.linear %x8, %w : (!x8, !w8) -> tensor<?x40xf32>
    lm.yield %y : tensor<?x40xf32>
  } : tensor<?x40xf32>
  return %r : tensor<?x40xf32>
}

// -----

// A layer norm in two passes over the row, with a bias; two tiers of the same kernel, each under its own schedule.
// CHECK-LABEL: func.func @step() {
// CHECK: module @avx512vnni
// CHECK: func.func @norm_linear(%[[A:.*]]: memref<?x64xf32>, %[[W:.*]]: memref<1x64x32xf32>, %[[GAIN:.*]]: memref<64xf32>, %[[BIAS:.*]]: memref<64xf32>, %{{.*}}: memref<?x32xf32>)
// CHECK: %[[TOTAL:.*]] = scf.for
// CHECK: kern.reduce add %[[TOTAL]]
// CHECK: %[[MEAN:.*]] = vector.broadcast
// CHECK: %[[SQUARES:.*]] = scf.for
// CHECK: %[[X:.*]] = vector.load %[[A]]
// CHECK-NEXT: %[[CENTRED:.*]] = arith.subf %[[X]], %[[MEAN]]
// CHECK-NEXT: arith.mulf %[[CENTRED]], %[[CENTRED]]
// CHECK: kern.reduce add %[[SQUARES]]
// CHECK: %[[INVERSE:.*]] = arith.divf %{{.*}}, %{{.*}} : vector<16xf32>
// CHECK: %[[X:.*]] = vector.load %[[A]]
// CHECK-NEXT: %[[CENTRED:.*]] = arith.subf %[[X]], %[[MEAN]]
// CHECK-NEXT: %[[G:.*]] = vector.load %[[GAIN]]
// CHECK-NEXT: %[[SCALED:.*]] = arith.mulf %[[CENTRED]], %[[INVERSE]]
// CHECK-NEXT: %[[GAINED:.*]] = arith.mulf %[[SCALED]], %[[G]]
// CHECK-NEXT: %[[B:.*]] = vector.load %[[BIAS]]
// CHECK-NEXT: arith.addf %[[GAINED]], %[[B]]
// CHECK: of 6 rows
// CHECK: module @"x86-64-v3" attributes {kern.tier = "x86-64-v3"}
// CHECK: func.func @norm_linear(
// CHECK-SAME: columns = 16
// CHECK: of 4 rows

func.func @step(%batch: !lm.batch) {
  %table = lm.weight "embed" : tensor<100x64xf32>
  %x = call @embed(%batch, %table) : (!lm.batch, tensor<100x64xf32>) -> tensor<?x64xf32>
  %g = lm.weight "gain" : tensor<64xf32>
  %b = lm.weight "bias" : tensor<64xf32>
  %w = lm.weight "w" : tensor<32x64xf32>
  %y = call @norm_linear(%x, %g, %b, %w) : (tensor<?x64xf32>, tensor<64xf32>, tensor<64xf32>, tensor<32x64xf32>) -> tensor<?x32xf32>
  return
}

#vnni = #kern.schedule<target = "avx512vnni", unit_block = 12, rows = 6, columns = 32>
#avx2 = #kern.schedule<target = "x86-64-v3", unit_block = 8, rows = 4, columns = 16>

func.func private @embed(%batch: !lm.batch, %table: tensor<100x64xf32>) -> tensor<?x64xf32> attributes {kern.schedules = [#vnni, #avx2]} {
  %y = lm.fused "embed" {
    %x = lm.embed %table at %batch : tensor<100x64xf32> -> tensor<?x64xf32>
    lm.yield %x : tensor<?x64xf32>
  } : tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}

func.func private @norm_linear(%x: tensor<?x64xf32>, %g: tensor<64xf32>, %b: tensor<64xf32>, %w: tensor<32x64xf32>) -> tensor<?x32xf32> attributes {kern.schedules = [#vnni, #avx2]} {
  %r = lm.fused "norm_linear" {
    %n = lm.norm layer %x, %g bias %b eps 1.0e-5 : tensor<?x64xf32>, tensor<64xf32>, tensor<64xf32> -> tensor<?x64xf32>
    %y = lm.linear %n, %w : (tensor<?x64xf32>, tensor<32x64xf32>) -> tensor<?x32xf32>
    lm.yield %y : tensor<?x32xf32>
  } : tensor<?x32xf32>
  return %r : tensor<?x32xf32>
}

// -----

// Gate and up alternate by 16 columns, so a panel holds both halves of 16 results; 40 results take a third panel that is half padding.
// The residual and the bias are added to the tile before it is stored.
// CHECK-LABEL: func.func @step() {
// CHECK: %[[X:.*]] = kern.buffer rows : memref<?x64xf32>
// CHECK: %[[GATEUP:.*]] = kern.weight values ["gate", "up"] pack <order = interleaved, dim = 16> k 64 : memref<3x64x32xf32>
// CHECK-NEXT: %[[H:.*]] = kern.buffer rows : memref<?x64xf32>
// CHECK-NEXT: kern.launch @gate_up(%[[X]], %[[GATEUP]], %[[H]])
// CHECK-NEXT: %[[DOWN:.*]] = kern.weight values ["down"] pack <order = flat, dim = 1> k 40 : memref<2x40x32xf32>
// CHECK-NEXT: %[[BIAS:.*]] = kern.weight vector ["down.bias"] pack <order = flat, dim = 1> k 1 : memref<64xf32>
// CHECK-NEXT: %[[OUT:.*]] = kern.buffer rows : memref<?x64xf32>
// CHECK-NEXT: kern.launch @down(%[[H]], %[[X]], %[[DOWN]], %[[BIAS]], %[[OUT]])

// CHECK: func.func @gate_up(%[[A:.*]]: memref<?x64xf32>, %[[W:.*]]: memref<3x64x32xf32>, %[[OUT:.*]]: memref<?x64xf32>)
// CHECK-SAME: kern.fused = "linear, split, gated"
// CHECK-SAME: kern.tiles = 3 : i64
// CHECK: scf.for %[[T:.*]] = %{{.*}} to
// CHECK: kern.dot
// CHECK: %[[ROW:.*]] = arith.addi
// CHECK-NEXT: %[[GATE:.*]] = vector.load %[[TILE:.*]][%[[SLOT:.*]], %c0]
// CHECK-NEXT: %[[UP:.*]] = vector.load %[[TILE]][%[[SLOT]], %c16]
// CHECK-NEXT: %[[MINUS:.*]] = arith.negf %[[GATE]]
// CHECK-NEXT: %[[EXP:.*]] = math.exp %[[MINUS]]
// CHECK-NEXT: %[[DIVISOR:.*]] = arith.addf %[[EXP]], %{{.*}}
// CHECK-NEXT: %[[SILU:.*]] = arith.divf %[[GATE]], %[[DIVISOR]]
// CHECK-NEXT: %[[H:.*]] = arith.mulf %[[SILU]], %[[UP]]
// CHECK-NEXT: %[[AT:.*]] = arith.muli %[[T]], %c16
// CHECK-NEXT: vector.store %[[H]], %[[OUT]][%[[ROW]], %[[AT]]]
// CHECK-NEXT: }

// CHECK: func.func @down(%[[A:.*]]: memref<?x64xf32>, %[[X:.*]]: memref<?x64xf32>, %[[W:.*]]: memref<2x40x32xf32>, %[[BIAS:.*]]: memref<64xf32>, %[[OUT:.*]]: memref<?x64xf32>)
// CHECK-SAME: kern.fused = "linear, addf"
// CHECK: kern.dot %{{.*}} of 6 rows(%[[A]][%{{.*}}]) by(%[[W]][%{{.*}}]) into %{{.*}} k 40 ahead %{{.*}} :
// CHECK: %[[RESIDUAL:.*]] = vector.load %[[X]][%[[ROW:.*]], %[[AT:.*]]]
// CHECK-NEXT: %[[PRODUCT:.*]] = vector.load
// CHECK-NEXT: %[[B:.*]] = vector.load %[[BIAS]][%[[AT]]]
// CHECK-NEXT: %[[BIASED:.*]] = arith.addf %[[PRODUCT]], %[[B]]
// CHECK-NEXT: %[[SUM:.*]] = arith.addf %[[RESIDUAL]], %[[BIASED]]
// CHECK-NEXT: vector.store %[[SUM]], %[[OUT]][%[[ROW]], %[[AT]]]

func.func @step(%batch: !lm.batch) {
  %table = lm.weight "embed" : tensor<100x64xf32>
  %x = call @embed(%batch, %table) : (!lm.batch, tensor<100x64xf32>) -> tensor<?x64xf32>
  %gate = lm.weight "gate" : tensor<40x64xf32>
  %up = lm.weight "up" : tensor<40x64xf32>
  %w = lm.stack %gate, %up interleave 16 : (tensor<40x64xf32>, tensor<40x64xf32>) -> tensor<80x64xf32>
  %h = call @gate_up(%x, %w) : (tensor<?x64xf32>, tensor<80x64xf32>) -> tensor<?x40xf32>
  %wd = lm.weight "down" : tensor<64x40xf32>
  %bd = lm.weight "down.bias" : tensor<64xf32>
  %d = call @down(%h, %x, %wd, %bd) : (tensor<?x40xf32>, tensor<?x64xf32>, tensor<64x40xf32>, tensor<64xf32>) -> tensor<?x64xf32>
  return
}

#schedule = #kern.schedule<target = "avx512vnni", unit_block = 12, rows = 6, columns = 32>

func.func private @embed(%batch: !lm.batch, %table: tensor<100x64xf32>) -> tensor<?x64xf32> attributes {kern.schedules = [#schedule]} {
  %y = lm.fused "embed" {
    %x = lm.embed %table at %batch : tensor<100x64xf32> -> tensor<?x64xf32>
    lm.yield %x : tensor<?x64xf32>
  } : tensor<?x64xf32>
  return %y : tensor<?x64xf32>
}

func.func private @gate_up(%x: tensor<?x64xf32>, %w: tensor<80x64xf32>) -> tensor<?x40xf32> attributes {kern.schedules = [#schedule]} {
  %r = lm.fused "gate_up" {
    %y = lm.linear %x, %w : (tensor<?x64xf32>, tensor<80x64xf32>) -> tensor<?x80xf32>
    %gate, %up = lm.split %y interleave 16 : tensor<?x80xf32> -> tensor<?x40xf32>, tensor<?x40xf32>
    %h = lm.gated silu %gate, %up : tensor<?x40xf32>
    lm.yield %h : tensor<?x40xf32>
  } : tensor<?x40xf32>
  return %r : tensor<?x40xf32>
}

func.func private @down(%h: tensor<?x40xf32>, %x: tensor<?x64xf32>, %w: tensor<64x40xf32>, %b: tensor<64xf32>) -> tensor<?x64xf32> attributes {kern.schedules = [#schedule]} {
  %r = lm.fused "down" {
    %y = lm.linear %h, %w bias %b : (tensor<?x40xf32>, tensor<64x40xf32>, tensor<64xf32>) -> tensor<?x64xf32>
    %x1 = arith.addf %x, %y : tensor<?x64xf32>
    lm.yield %x1 : tensor<?x64xf32>
  } : tensor<?x64xf32>
  return %r : tensor<?x64xf32>
}

// -----

// bf16 in pairs along k, the last one half empty: the table is read an element at a time, the linear takes its panels as they are, half the bytes of f32.
// CHECK-LABEL: func.func @step() {
// CHECK: %[[TABLE:.*]] = kern.weight values ["embed"] pack <order = flat, dim = 1> k 71 : memref<4x36x32x2xbf16>
// CHECK: func.func @embed(%[[TABLE:.*]]: memref<4x36x32x2xbf16>, %[[OUT:.*]]: memref<?x96xf32>)
// CHECK: scf.for %[[COLUMN:.*]] = %c0 to %c71 step %c1
// CHECK-NEXT: %[[PAIR:.*]] = arith.divui %[[COLUMN]], %c2
// CHECK-NEXT: %[[WHICH:.*]] = arith.remui %[[COLUMN]], %c2
// CHECK-NEXT: %[[SHORT:.*]] = memref.load %[[TABLE]][%{{.*}}, %[[PAIR]], %{{.*}}, %[[WHICH]]]
// CHECK-NEXT: %[[VALUE:.*]] = arith.extf %[[SHORT]] : bf16 to f32
// CHECK-NEXT: memref.store %[[VALUE]], %[[OUT]][%{{.*}}, %[[COLUMN]]]
// CHECK: func.func @head(%[[A:.*]]: memref<?x96xf32>, %[[W:.*]]: memref<4x36x32x2xbf16>, %{{.*}}: memref<?x128xf32>)
// CHECK-SAME: kern.tile_bytes = 4608 : i64
// CHECK: kern.dot %{{.*}} of 6 rows(%{{.*}}) by(%[[W]][%{{.*}}]) into %{{.*}} k 71 ahead %{{.*}} : (memref<{{.*}}xf32>) by(memref<4x36x32x2xbf16>) into memref<6x32xf32>
#s = #kern.schedule<target = "avx512vnni", unit_block = 12, rows = 6, columns = 32>
func.func @step(%batch: !lm.batch) -> tensor<?x100xf32> {
  %table = lm.weight "embed" : tensor<100x71xbf16>
  %x = call @embed(%batch, %table) : (!lm.batch, tensor<100x71xbf16>) -> tensor<?x71xf32>
  %logits = call @head(%batch, %x, %table) : (!lm.batch, tensor<?x71xf32>, tensor<100x71xbf16>) -> tensor<?x100xf32>
  return %logits : tensor<?x100xf32>
}
func.func private @embed(%batch: !lm.batch, %table: tensor<100x71xbf16>) -> tensor<?x71xf32> attributes {kern.schedules = [#s]} {
  %r = lm.fused "embed" {
    %x = lm.embed %table at %batch : tensor<100x71xbf16> -> tensor<?x71xf32>
    lm.yield %x : tensor<?x71xf32>
  } : tensor<?x71xf32>
  return %r : tensor<?x71xf32>
}
func.func private @head(%batch: !lm.batch, %x: tensor<?x71xf32>, %w: tensor<100x71xbf16>) -> tensor<?x100xf32> attributes {kern.schedules = [#s]} {
  %r = lm.fused "head" {
    %s = lm.select_rows %x at %batch : tensor<?x71xf32>
    %y = lm.linear %s, %w : (tensor<?x71xf32>, tensor<100x71xbf16>) -> tensor<?x100xf32>
    lm.yield %y : tensor<?x100xf32>
  } : tensor<?x100xf32>
  return %r : tensor<?x100xf32>
}

// -----

// A tier with +bf16 multiplies bf16 weights by rows that are rounded to bf16 first, the lanes behind the row's end zero; weights in f32 as ever.
// CHECK-LABEL: func.func @step() {
// CHECK: module @"avx512vnni+bf16" attributes {kern.tier = "avx512vnni+bf16"} {
// CHECK: func.func @rounded(%[[X:.*]]: memref<?x96xf32>, %[[W:.*]]: memref<4x36x32x2xbf16>, %{{.*}}: memref<?x128xf32>)
// CHECK: %[[A:.*]] = kern.scratch : memref<12x80xbf16>
// CHECK: kern.prepared
// CHECK: %[[WHOLE:.*]] = vector.load %[[X]][%{{.*}}, %[[COLUMN:.*]]]
// CHECK-NEXT: %[[SHORT:.*]] = arith.truncf %[[WHOLE]] : vector<16xf32> to vector<16xbf16>
// CHECK-NEXT: vector.store %[[SHORT]], %[[A]][%{{.*}}, %[[COLUMN]]]
// CHECK: %[[TAIL:.*]] = vector.maskedload %[[X]][%{{.*}}, %c64]
// CHECK-NEXT: %[[ZEROED:.*]] = arith.select %{{.*}}, %[[TAIL]], %{{.*}}
// CHECK-NEXT: %[[SHORT:.*]] = arith.truncf %[[ZEROED]]
// CHECK-NEXT: vector.store %[[SHORT]], %[[A]][%{{.*}}, %c64]
// CHECK: kern.dot %{{.*}} of 6 rows(%[[A]][%{{.*}}]) by(%[[W]][%{{.*}}]) into %{{.*}} k 71 ahead %{{.*}} : (memref<12x80xbf16>) by(memref<4x36x32x2xbf16>)
// CHECK: func.func @wide(
// CHECK: kern.dot %{{.*}} : (memref<12x112xf32>) by(memref<4x100x32xf32>)
#bf16 = #kern.schedule<target = "avx512vnni+bf16", unit_block = 12, rows = 6, columns = 32>
func.func @step(%batch: !lm.batch) -> tensor<?x100xf32> {
  %table = lm.weight "embed" : tensor<100x71xf32>
  %v = lm.weight "v" : tensor<100x71xbf16>
  %x = call @embed(%batch, %table) : (!lm.batch, tensor<100x71xf32>) -> tensor<?x71xf32>
  %y = call @rounded(%x, %v) : (tensor<?x71xf32>, tensor<100x71xbf16>) -> tensor<?x100xf32>
  %w = lm.weight "w" : tensor<100x100xf32>
  %logits = call @wide(%batch, %y, %w) : (!lm.batch, tensor<?x100xf32>, tensor<100x100xf32>) -> tensor<?x100xf32>
  return %logits : tensor<?x100xf32>
}
func.func private @embed(%batch: !lm.batch, %table: tensor<100x71xf32>) -> tensor<?x71xf32> attributes {kern.schedules = [#bf16]} {
  %r = lm.fused "embed" {
    %x = lm.embed %table at %batch : tensor<100x71xf32> -> tensor<?x71xf32>
    lm.yield %x : tensor<?x71xf32>
  } : tensor<?x71xf32>
  return %r : tensor<?x71xf32>
}
func.func private @rounded(%x: tensor<?x71xf32>, %w: tensor<100x71xbf16>) -> tensor<?x100xf32> attributes {kern.schedules = [#bf16]} {
  %r = lm.fused "rounded" {
    %y = lm.linear %x, %w : (tensor<?x71xf32>, tensor<100x71xbf16>) -> tensor<?x100xf32>
    lm.yield %y : tensor<?x100xf32>
  } : tensor<?x100xf32>
  return %r : tensor<?x100xf32>
}
func.func private @wide(%batch: !lm.batch, %x: tensor<?x100xf32>, %w: tensor<100x100xf32>) -> tensor<?x100xf32> attributes {kern.schedules = [#bf16]} {
  %r = lm.fused "wide" {
    %s = lm.select_rows %x at %batch : tensor<?x100xf32>
    %y = lm.linear %s, %w : (tensor<?x100xf32>, tensor<100x100xf32>) -> tensor<?x100xf32>
    lm.yield %y : tensor<?x100xf32>
  } : tensor<?x100xf32>
  return %r : tensor<?x100xf32>
}

// -----

// A schedule with a library: a call of enough rows is one product of the library's, one of fewer goes by register tiles; the epilogue is the same. The tile has
// room for all rows of a call.
// CHECK: func.func @library(%[[A:.*]]: memref<?x96xf32>, %[[W:.*]]: memref<3x70x32xf32>, %[[OUT:.*]]: memref<?x96xf32>)
// CHECK: %[[TILE:.*]] = kern.scratch : memref<24x32xf32>
// CHECK: %[[TOTAL:.*]] = arith.subi
// CHECK-NEXT: %[[TILES:.*]] = arith.ceildivui %[[TOTAL]], %c6
// CHECK-NEXT: %[[ENOUGH:.*]] = arith.cmpi sge, %[[TOTAL]], %c16
// CHECK-NEXT: %[[PARTS:.*]] = arith.select %[[ENOUGH]], %c1, %[[TILES]]
// CHECK-NEXT: scf.for %{{.*}} = %c0 to %[[PARTS]] step %c1
// CHECK: scf.if %[[ENOUGH]] {
// CHECK-NEXT: kern.dot %[[COUNT:.*]] of 24 rows library "onednn"(%[[A]][%{{.*}}]) by(%[[W]][%{{.*}}]) into %[[TILE]][%c0] k 70 :
// CHECK-NEXT: } else {
// CHECK-NEXT: kern.dot %[[COUNT]] of 6 rows(%[[A]]
// CHECK-NEXT: }
// CHECK-NEXT: scf.for %{{.*}} = %c0 to %[[COUNT]] step %c1
// CHECK-NOT: kern.dot
// CHECK: return

#schedule = #kern.schedule<target = "avx512vnni", unit_block = 24, rows = 6, columns = 32, library = "onednn", library_rows = 16>
#embedding = #kern.schedule<target = "avx512vnni", unit_block = 12, rows = 6, columns = 32>

func.func @step(%batch: !lm.batch) -> tensor<?x100xf32> {
  %table = lm.weight "embed" : tensor<100x70xf32>
  %x = call @embed(%batch, %table) : (!lm.batch, tensor<100x70xf32>) -> tensor<?x70xf32>
  %w = lm.weight "w" : tensor<70x70xf32>
  %y = call @library(%x, %w) : (tensor<?x70xf32>, tensor<70x70xf32>) -> tensor<?x70xf32>
  %z = call @head(%batch, %y, %table) : (!lm.batch, tensor<?x70xf32>, tensor<100x70xf32>) -> tensor<?x100xf32>
  return %z : tensor<?x100xf32>
}
func.func private @embed(%batch: !lm.batch, %table: tensor<100x70xf32>) -> tensor<?x70xf32> attributes {kern.schedules = [#embedding]} {
  %r = lm.fused "embed" {
    %x = lm.embed %table at %batch : tensor<100x70xf32> -> tensor<?x70xf32>
    lm.yield %x : tensor<?x70xf32>
  } : tensor<?x70xf32>
  return %r : tensor<?x70xf32>
}
func.func private @library(%x: tensor<?x70xf32>, %w: tensor<70x70xf32>) -> tensor<?x70xf32> attributes {kern.schedules = [#schedule]} {
  %r = lm.fused "library" {
    %y = lm.linear %x, %w : (tensor<?x70xf32>, tensor<70x70xf32>) -> tensor<?x70xf32>
    lm.yield %y : tensor<?x70xf32>
  } : tensor<?x70xf32>
  return %r : tensor<?x70xf32>
}
func.func private @head(%batch: !lm.batch, %x: tensor<?x70xf32>, %table: tensor<100x70xf32>) -> tensor<?x100xf32> attributes {kern.schedules = [#embedding]} {
  %r = lm.fused "head" {
    %rows = lm.select_rows %x at %batch : tensor<?x70xf32>
    %y = lm.linear %rows, %table : (tensor<?x70xf32>, tensor<100x70xf32>) -> tensor<?x100xf32>
    lm.yield %y : tensor<?x100xf32>
  } : tensor<?x100xf32>
  return %r : tensor<?x100xf32>
}
