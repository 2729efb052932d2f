// RUN: lathe-opt %s --convert-kern-to-vector --canonicalize --cse --split-input-file | FileCheck %s

// The signature is KernelFn of runtime/Abi.h: buffers, step, units and tiles from-to, scratch. Buffers are read from the list, addresses are made of the
// static sizes; scratch is handed out in multiples of 64 bytes and what it takes is noted; the step's arrays stand where LatheStep has them.
// CHECK-LABEL: func.func @memory(
// CHECK-SAME: %[[BUFFERS:.*]]: !llvm.ptr, %[[STEP:.*]]: !llvm.ptr, %[[U0:.*]]: i64, %[[U1:.*]]: i64, %[[T0:.*]]: i64, %[[T1:.*]]: i64, %[[SCRATCH:.*]]: !llvm.ptr, %[[PREPARED:.*]]: i64)
// CHECK-SAME: kern.scratch_bytes = 128 : i64
// CHECK: %[[X:.*]] = llvm.load %[[BUFFERS]] {alignment = 8 : i64} : !llvm.ptr -> !llvm.ptr
// CHECK-NEXT: %[[SECOND:.*]] = llvm.getelementptr %[[BUFFERS]][8] : (!llvm.ptr) -> !llvm.ptr, i8
// CHECK-NEXT: %[[KV:.*]] = llvm.load %[[SECOND]]
// CHECK-NEXT: %[[UNIT:.*]] = arith.index_cast %[[U0]]
// CHECK-NEXT: %[[TILE:.*]] = arith.index_cast %[[T1]]
// CHECK-NEXT: %[[OTHER:.*]] = llvm.getelementptr %[[SCRATCH]][64]

// x[unit, tile] of [?][96] floats
// CHECK-DAG: %[[COLUMN:.*]] = arith.muli %[[TILE]], %c4
// CHECK-DAG: %[[ROW:.*]] = arith.muli %[[UNIT]], %c384
// CHECK: %[[BYTES:.*]] = arith.addi %[[COLUMN]], %[[ROW]]
// CHECK-NEXT: %[[WIDE:.*]] = arith.index_cast %[[BYTES]]
// CHECK-NEXT: %[[ADDRESS:.*]] = llvm.getelementptr %[[X]][%[[WIDE]]] : (!llvm.ptr, i64) -> !llvm.ptr, i8
// CHECK-NEXT: %[[V:.*]] = llvm.load %[[ADDRESS]] {alignment = 4 : i64} : !llvm.ptr -> vector<16xf32>

// tokenIds, rowSequence, rowPosition, logitRow, itemRow
// CHECK: llvm.getelementptr %[[STEP]][40]
// CHECK-NEXT: llvm.load %{{.*}} -> !llvm.ptr
// CHECK: %[[I32:.*]] = llvm.load %{{.*}} {alignment = 4 : i64} : !llvm.ptr -> i32
// CHECK-NEXT: %[[TOKEN:.*]] = arith.index_cast %[[I32]] : i32 to index
// CHECK: llvm.getelementptr %[[STEP]][48]
// CHECK: %[[SEQUENCE:.*]] = arith.index_cast %{{.*}} : i32 to index
// CHECK: llvm.getelementptr %[[STEP]][56]
// CHECK: %[[POSITION:.*]] = arith.index_cast %{{.*}} : i32 to index
// CHECK: llvm.getelementptr %[[STEP]][72]
// CHECK: %[[LOGIT:.*]] = arith.index_cast %{{.*}} : i32 to index
// CHECK: llvm.getelementptr %[[STEP]][88]
// CHECK: %[[BLOCK:.*]] = arith.index_cast %{{.*}} : i32 to index

// pageTable[sequence * pageStride + position]
// CHECK: llvm.getelementptr %[[STEP]][32]
// CHECK-NEXT: %[[STRIDE64:.*]] = llvm.load %{{.*}} -> i64
// CHECK-NEXT: %[[STRIDE:.*]] = arith.index_cast %[[STRIDE64]]
// CHECK-NEXT: %[[FIRST:.*]] = arith.muli %[[SEQUENCE]], %[[STRIDE]]
// CHECK-NEXT: arith.addi %[[FIRST]], %[[POSITION]]
// CHECK-NEXT: llvm.getelementptr %[[STEP]][64]
// CHECK: %[[PAGE:.*]] = arith.index_cast %{{.*}} : i32 to index

// Arriving is an atomic addition; the last one puts the counter back.
// CHECK: llvm.getelementptr %[[STEP]][144]
// CHECK: %[[BEFORE:.*]] = llvm.atomicrmw add %[[COUNTER:.*]], %{{.*}} acq_rel : !llvm.ptr, i32
// CHECK-NEXT: %[[ARRIVED:.*]] = arith.addi %[[BEFORE]]
// CHECK: %[[LAST:.*]] = arith.cmpi eq, %[[ARRIVED]]
// CHECK-NEXT: scf.if %[[LAST]] {
// CHECK-NEXT: llvm.store %{{.*}}, %[[COUNTER]]
// CHECK: "llvm.intr.prefetch"(%{{.*}}) <{cache = 1 : i32, hint = 2 : i32, rw = 0 : i32}>

// kv[page, block, token, logit] of [?][2][32][16] bf16
// CHECK-DAG: arith.muli %[[LOGIT]], %c2
// CHECK-DAG: arith.muli %[[TOKEN]], %c32
// CHECK-DAG: arith.muli %[[BLOCK]], %c1024
// CHECK-DAG: arith.muli %[[PAGE]], %c2048
// CHECK: llvm.getelementptr %[[KV]][
// CHECK-NEXT: %[[ELEMENT:.*]] = llvm.load %{{.*}} {alignment = 2 : i64} : !llvm.ptr -> bf16
// CHECK: llvm.getelementptr %[[OTHER]][
// CHECK-NEXT: llvm.store %[[ELEMENT]], %{{.*}} {alignment = 2 : i64} : bf16, !llvm.ptr
// CHECK: llvm.intr.masked.store %[[V]], %{{.*}}, %[[MASK:.*]] {alignment = 4 : i32}
// CHECK: llvm.intr.masked.load %{{.*}}, %[[MASK]], %[[V]] {alignment = 4 : i32}
// CHECK-NOT: kern.
// CHECK: return
module @kernels attributes {kern.tier = "avx512vnni"} {
  func.func @memory(%x: memref<?x96xf32>, %kv: memref<?x2x32x16xbf16>) attributes {kern.schedule = #kern.schedule<target = "avx512vnni", unit_block = 4, rows = 2, columns = 32>} {
    %u0, %u1, %t0, %t1 = kern.program_id
    %s = kern.scratch : memref<3x5xf32>
    %s2 = kern.scratch : memref<2xbf16>
    %v = vector.load %x[%u0, %t1] : memref<?x96xf32>, vector<16xf32>
    %token = kern.batch token_ids[%u0]
    %sequence = kern.batch row_sequence[%u0]
    %position = kern.batch row_position[%u0]
    %logit = kern.batch logit_row[%u0]
    %block = kern.batch item_row[%u0]
    %page = kern.gather_pages %sequence, %position
    %last = kern.arrive %token of %sequence
    scf.if %last {
      memref.prefetch %kv[%page, %block, %token, %logit], read, locality<2>, data : memref<?x2x32x16xbf16>
    }
    %e = memref.load %kv[%page, %block, %token, %logit] : memref<?x2x32x16xbf16>
    memref.store %e, %s2[%u0] : memref<2xbf16>
    %m = vector.constant_mask [5] : vector<16xi1>
    vector.maskedstore %x[%u0, %u0], %m, %v : memref<?x96xf32>, vector<16xi1>, vector<16xf32>
    %part = vector.maskedload %x[%u0, %t1], %m, %v : memref<?x96xf32>, vector<16xi1>, vector<16xf32> into vector<16xf32>
    vector.store %part, %x[%u0, %t1] : memref<?x96xf32>, vector<16xf32>
    return
  }
}

// -----

// Halves are added until one lane is left, the same on every machine; integers as well. Exp becomes a polynomial, bf16 shifts: no call is left to anyone.
// CHECK-LABEL: func.func @arithmetic(
// CHECK: %[[V:.*]] = llvm.load %{{.*}} -> vector<16xf32>
// CHECK: %[[LOW:.*]] = vector.extract_strided_slice %[[V]] {offsets = [0], sizes = [8], strides = [1]}
// CHECK-NEXT: %[[HIGH:.*]] = vector.extract_strided_slice %[[V]] {offsets = [8], sizes = [8], strides = [1]}
// CHECK-NEXT: %[[EIGHT:.*]] = arith.addf %[[LOW]], %[[HIGH]] : vector<8xf32>
// CHECK-NEXT: %[[LOW:.*]] = vector.extract_strided_slice %[[EIGHT]] {offsets = [0], sizes = [4], strides = [1]}
// CHECK-NEXT: %[[HIGH:.*]] = vector.extract_strided_slice %[[EIGHT]] {offsets = [4], sizes = [4], strides = [1]}
// CHECK-NEXT: %[[FOUR:.*]] = arith.addf %[[LOW]], %[[HIGH]] : vector<4xf32>
// CHECK-NEXT: %[[LOW:.*]] = vector.extract_strided_slice %[[FOUR]] {offsets = [0], sizes = [2], strides = [1]}
// CHECK-NEXT: %[[HIGH:.*]] = vector.extract_strided_slice %[[FOUR]] {offsets = [2], sizes = [2], strides = [1]}
// CHECK-NEXT: %[[TWO:.*]] = arith.addf %[[LOW]], %[[HIGH]] : vector<2xf32>
// CHECK-NEXT: %[[LOW:.*]] = vector.extract_strided_slice %[[TWO]] {offsets = [0], sizes = [1], strides = [1]}
// CHECK-NEXT: %[[HIGH:.*]] = vector.extract_strided_slice %[[TWO]] {offsets = [1], sizes = [1], strides = [1]}
// CHECK-NEXT: %[[ONE:.*]] = arith.addf %[[LOW]], %[[HIGH]] : vector<1xf32>
// CHECK-NEXT: %[[SUM:.*]] = vector.extract %[[ONE]][0]
// CHECK: llvm.store %[[SUM]]
// CHECK: arith.maximumf {{.*}} : vector<1xf32>
// CHECK: arith.maxsi {{.*}} : vector<1xi32>
// CHECK-NOT: math.exp
// CHECK-NOT: arith.truncf
// CHECK-NOT: arith.extf
// CHECK: math.fma
// CHECK-NOT: call
// CHECK: return
module @kernels attributes {kern.tier = "avx512vnni"} {
  func.func @arithmetic(%x: memref<?x96xf32>, %i: memref<?x96xi32>, %h: memref<?x96xbf16>) attributes {kern.schedule = #kern.schedule<target = "avx512vnni", unit_block = 4, rows = 2, columns = 32>} {
    %u0, %u1, %t0, %t1 = kern.program_id
    %v = vector.load %x[%u0, %u0] : memref<?x96xf32>, vector<16xf32>
    %sum = kern.reduce add %v : vector<16xf32> -> f32
    memref.store %sum, %x[%u0, %u0] : memref<?x96xf32>
    %most = kern.reduce max %v : vector<16xf32> -> f32
    memref.store %most, %x[%u0, %u0] : memref<?x96xf32>
    %ints = vector.load %i[%u0, %u0] : memref<?x96xi32>, vector<16xi32>
    %largest = kern.reduce max %ints : vector<16xi32> -> i32
    memref.store %largest, %i[%u0, %u0] : memref<?x96xi32>
    %exp = math.exp %v : vector<16xf32>
    %half = arith.truncf %exp : vector<16xf32> to vector<16xbf16>
    vector.store %half, %h[%u0, %u0] : memref<?x96xbf16>, vector<16xbf16>
    return
  }
}

// -----

// Codes on avx512vnni: a variant for each number of rows. A group's sums start at the input's offset, since weights are biased by 128; one vpdpbusd takes
// 4 codes of 16 columns. The last group of 70 - 64 codes is two quads and its own scales; the groups are chained by multiply-adds in order.
// CHECK-LABEL: func.func @codes_vnni(
// CHECK: %[[ROWS:.*]] = arith.index_cast %{{.*}} : i64 to index
// CHECK: scf.index_switch %[[ROWS]]
// CHECK-NEXT: case 1 {
// CHECK: %[[OFFSET:.*]] = llvm.load %{{.*}} -> i32
// CHECK-NEXT: %[[START:.*]] = vector.broadcast %[[OFFSET]] : i32 to vector<16xi32>
// CHECK-NEXT: %[[SUMS:.*]]:2 = scf.for %{{.*}} = %c0 to %c16 step %c1 iter_args(%[[LEFT:.*]] = %[[START]], %[[RIGHT:.*]] = %[[START]])
// CHECK: %[[W0:.*]] = llvm.load %{{.*}} {alignment = 1 : i64} : !llvm.ptr -> vector<64xi8>
// CHECK: %[[W1:.*]] = llvm.load %{{.*}} {alignment = 1 : i64} : !llvm.ptr -> vector<64xi8>
// CHECK: %[[FOUR:.*]] = llvm.load %{{.*}} {alignment = 4 : i64} : !llvm.ptr -> i32
// CHECK-NEXT: %[[SPLAT:.*]] = vector.broadcast %[[FOUR]]
// CHECK-NEXT: %[[X:.*]] = vector.bitcast %[[SPLAT]] : vector<16xi32> to vector<64xi8>
// CHECK-NEXT: llvm.call_intrinsic "llvm.x86.avx512.vpdpbusd.512"(%[[LEFT]], %[[W0]], %[[X]])
// CHECK-NEXT: llvm.call_intrinsic "llvm.x86.avx512.vpdpbusd.512"(%[[RIGHT]], %[[W1]], %[[X]])
// CHECK: }
// CHECK: %[[FLOAT:.*]] = arith.sitofp %[[SUMS]]#0
// CHECK-NEXT: %[[SCALED:.*]] = arith.mulf %[[FLOAT]], %{{.*}}
// CHECK-NEXT: %[[FIRST:.*]] = math.fma %[[SCALED]], %{{.*}}, %{{.*}}
// CHECK-NOT: scf.for
// CHECK-COUNT-2: vpdpbusd
// CHECK: %[[TAIL:.*]] = llvm.call_intrinsic "llvm.x86.avx512.vpdpbusd.512"
// CHECK-NEXT: llvm.call_intrinsic "llvm.x86.avx512.vpdpbusd.512"
// CHECK: %[[FLOAT:.*]] = arith.sitofp %[[TAIL]]
// CHECK-NEXT: %[[SCALED:.*]] = arith.mulf %[[FLOAT]], %{{.*}}
// CHECK-NEXT: math.fma %[[SCALED]], %{{.*}}, %[[FIRST]]
// CHECK-COUNT-2: llvm.store %{{.*}} : vector<16xf32>, !llvm.ptr
// CHECK: default {
// CHECK-COUNT-4: vpdpbusd
// CHECK: }
// CHECK-COUNT-8: vpdpbusd
// CHECK-COUNT-4: llvm.store %{{.*}} : vector<16xf32>, !llvm.ptr
// CHECK-NOT: prefetch
// CHECK-NOT: case 2
// CHECK: return
module @kernels attributes {kern.tier = "avx512vnni"} {
  func.func @codes_vnni(%w: memref<2x18x32x4xi8>, %ws: memref<2x2x32xbf16>) attributes {kern.schedule = #kern.schedule<target = "avx512vnni", unit_block = 4, rows = 2, columns = 32>} {
    %count, %row, %panel, %column = kern.program_id
    %a = kern.scratch : memref<4x80xi8>
    %as = kern.scratch : memref<4x2xf32>
    %ao = kern.scratch : memref<4x2xi32>
    %c = kern.scratch : memref<2x32xf32>
    kern.dot %count of 2 rows (%a, %as, %ao[%row]) by (%w, %ws[%panel]) into %c[%column] k 70 coding <group = 64, scale = bf16> input_group 64
      : (memref<4x80xi8>, memref<4x2xf32>, memref<4x2xi32>) by (memref<2x18x32x4xi8>, memref<2x2x32xbf16>) into memref<2x32xf32>
    return
  }
}

// -----

// Every load of codes asks for what will be wanted `ahead` bytes later, into the second level of the cache; scales are few.
// CHECK-LABEL: func.func @ahead(
// CHECK: scf.for
// CHECK-COUNT-16: "llvm.intr.prefetch"(%{{.*}}) <{cache = 1 : i32, hint = 2 : i32, rw = 0 : i32}>
// CHECK-NOT: prefetch
// CHECK: return
module @kernels attributes {kern.tier = "avx512vnni"} {
  func.func @ahead(%w: memref<2x16x32x4xi8>, %ws: memref<2x2x32xbf16>) attributes {kern.schedule = #kern.schedule<target = "avx512vnni", unit_block = 4, rows = 1, columns = 32>} {
    %count, %row, %panel, %column = kern.program_id
    %a = kern.scratch : memref<4x64xi8>
    %as = kern.scratch : memref<4x2xf32>
    %ao = kern.scratch : memref<4x2xi32>
    %c = kern.scratch : memref<1x32xf32>
    kern.dot %count of 1 rows (%a, %as, %ao[%row]) by (%w, %ws[%panel]) into %c[%column] k 64 coding <group = 32, scale = bf16> input_group 32 ahead %column
      : (memref<4x64xi8>, memref<4x2xf32>, memref<4x2xi32>) by (memref<2x16x32x4xi8>, memref<2x2x32xbf16>) into memref<1x32xf32>
    return
  }
}

// -----

// The same on x86-64-v3, half a panel at a time, one row: the bias is taken off the weight, whose sign moves to the activation, so that unsigned by signed bytes
// neither saturates nor needs the offset; sums start at zero.
// CHECK-LABEL: func.func @codes_v3(
// CHECK-DAG: %[[BIAS:.*]] = arith.constant dense<-128> : vector<32xi8>
// CHECK-DAG: %[[ONES:.*]] = arith.constant dense<1> : vector<16xi16>
// CHECK-DAG: %[[ZERO:.*]] = arith.constant dense<0> : vector<16xi32>
// CHECK-NOT: scf.index_switch
// CHECK: scf.for %{{.*}} = %c0 to %c16 step %c1 iter_args(%[[SUM:.*]] = %[[ZERO]])
// CHECK: %[[W:.*]] = llvm.load %{{.*}} -> vector<64xi8>
// CHECK: %[[X:.*]] = vector.bitcast
// CHECK-NEXT: %[[W0:.*]] = vector.extract_strided_slice %[[W]] {offsets = [0], sizes = [32], strides = [1]}
// CHECK-NEXT: %[[X0:.*]] = vector.extract_strided_slice %[[X]] {offsets = [0], sizes = [32], strides = [1]}
// CHECK-NEXT: %[[SIGNED:.*]] = arith.xori %[[W0]], %[[BIAS]]
// CHECK-NEXT: %[[MAGNITUDE:.*]] = "llvm.intr.abs"(%[[SIGNED]]) <{is_int_min_poison = false}>
// CHECK-NEXT: %[[TURNED:.*]] = llvm.call_intrinsic "llvm.x86.avx2.psign.b"(%[[X0]], %[[SIGNED]])
// CHECK-NEXT: %[[PAIRS:.*]] = llvm.call_intrinsic "llvm.x86.avx2.pmadd.ub.sw"(%[[MAGNITUDE]], %[[TURNED]])
// CHECK-NEXT: %[[FOURS:.*]] = llvm.call_intrinsic "llvm.x86.avx2.pmadd.wd"(%[[PAIRS]], %[[ONES]])
// CHECK-NEXT: %[[S0:.*]] = vector.extract_strided_slice %[[SUM]] {offsets = [0], sizes = [8], strides = [1]}
// CHECK-NEXT: arith.addi %[[S0]], %[[FOURS]]
// CHECK: pmadd.ub.sw
// CHECK: vector.shuffle
// CHECK-COUNT-2: pmadd.ub.sw
// CHECK: llvm.store %{{.*}} : vector<16xf32>, !llvm.ptr
// CHECK-COUNT-4: pmadd.ub.sw
// CHECK: llvm.store %{{.*}} : vector<16xf32>, !llvm.ptr
// CHECK-NOT: vpdpbusd
// CHECK: return
module @kernels attributes {kern.tier = "x86-64-v3"} {
  func.func @codes_v3(%w: memref<2x18x32x4xi8>, %ws: memref<2x2x32xbf16>) attributes {kern.schedule = #kern.schedule<target = "x86-64-v3", unit_block = 4, rows = 1, columns = 16>} {
    %count, %row, %panel, %column = kern.program_id
    %a = kern.scratch : memref<4x80xi8>
    %as = kern.scratch : memref<4x2xf32>
    %ao = kern.scratch : memref<4x2xi32>
    %c = kern.scratch : memref<2x32xf32>
    kern.dot %count of 1 rows (%a, %as, %ao[%row]) by (%w, %ws[%panel]) into %c[%column] k 70 coding <group = 64, scale = bf16> input_group 64
      : (memref<4x80xi8>, memref<4x2xf32>, memref<4x2xi32>) by (memref<2x18x32x4xi8>, memref<2x2x32xbf16>) into memref<2x32xf32>
    return
  }
}

// -----

// On amx: tiles get their shapes in calls of enough rows and are released again. The panel is unpacked by an exclusive or (2 quads of the 70 codes' last unit are
// codes, 6 are none). Fewer than 3 rows are vpdpbusd's; of more, two units are on their way while the two before are scaled. 70 codes in groups of 32 are one
// batch of two and a short one, so no loop is left: all products of the batch, those of the rest, then both scaled in order.
// CHECK-LABEL: func.func @codes_amx(
// CHECK-SAME: %[[BUFFERS:.*]]: !llvm.ptr, %[[STEP:.*]]: !llvm.ptr, %[[U0:.*]]: i64, %[[U1:.*]]: i64, %[[T0:.*]]: i64, %[[T1:.*]]: i64, %[[SCRATCH:.*]]: !llvm.ptr, %{{.*}}: i64)
// CHECK-SAME: kern.scratch_bytes = 6592
// CHECK-DAG: %[[SHAPES:.*]] = arith.constant dense<{{.}}1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 64, 0, 64, 0, 64, 0, 64, 0, 32, 0, 32, 0, 64, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 4, 4, 4, 4, 4, 8, 8, 0, 0, 0, 0, 0, 0, 0, 0]> : vector<64xi8>
// CHECK-DAG: %[[BIAS:.*]] = arith.constant dense<-128> : vector<64xi8>
// CHECK-DAG: %[[NOTHING:.*]] = arith.constant dense<0> : vector<64xi8>
// CHECK: %[[UNITS:.*]] = arith.subi %[[U1]], %[[U0]] : i64
// CHECK: %[[ENOUGH:.*]] = arith.cmpi sge, %[[UNITS]], %c3_i64
// CHECK-NEXT: scf.if %[[ENOUGH]] {
// CHECK: llvm.store %[[SHAPES]], %[[AT:.*]] {
// CHECK-NEXT: llvm.call_intrinsic "llvm.x86.ldtilecfg"(%[[AT]])
// CHECK: scf.for %{{.*}} = %c0 to %c2 step %c1 {
// CHECK: %[[CODE:.*]] = llvm.load %{{.*}} -> vector<64xi8>
// CHECK: %[[BYTE:.*]] = arith.subi %[[CODE]], %[[BIAS]]
// CHECK: llvm.store %[[BYTE]]
// CHECK-COUNT-15: arith.subi %{{.*}}, %[[BIAS]]
// CHECK: }
// CHECK-COUNT-4: arith.subi %{{.*}}, %[[BIAS]]
// CHECK-NOT: arith.subi %{{.*}}, %[[BIAS]]
// CHECK-COUNT-12: llvm.store %[[NOTHING]]
// CHECK: scf.index_switch
// CHECK: case 1 {
// CHECK: vpdpbusd
// CHECK: case 2 {
// CHECK: vpdpbusd
// CHECK-NOT: case
// CHECK: default {
// CHECK-NOT: vpdpbusd
// CHECK: llvm.call_intrinsic "llvm.x86.tilezero"(%[[TILE0:.*]]) : (i8)
// CHECK-NEXT: llvm.call_intrinsic "llvm.x86.tilezero"(%[[TILE1:.*]]) : (i8)
// CHECK: llvm.call_intrinsic "llvm.x86.tileloadd64"(%[[TILE4:.*]], %{{.*}}, %c80_i64) : (i8, !llvm.ptr, i64)
// CHECK: llvm.call_intrinsic "llvm.x86.tileloadd64"(%[[TILE6:.*]], %{{.*}}, %c128_i64) : (i8, !llvm.ptr, i64)
// CHECK-NEXT: llvm.call_intrinsic "llvm.x86.tdpbssd"(%[[TILE0]], %[[TILE4]], %[[TILE6]])
// CHECK: llvm.call_intrinsic "llvm.x86.tileloadd64"(%[[TILE7:.*]], %{{.*}}, %c128_i64) : (i8, !llvm.ptr, i64)
// CHECK-NEXT: llvm.call_intrinsic "llvm.x86.tdpbssd"(%[[TILE1]], %[[TILE4]], %[[TILE7]])
// CHECK-COUNT-2: tdpbssd
// CHECK: llvm.call_intrinsic "llvm.x86.tilestored64"(%[[TILE0]], %[[SUMS:.*]], %c64_i64)
// CHECK: llvm.call_intrinsic "llvm.x86.tilestored64"(%[[TILE1]],
// CHECK-COUNT-2: tilestored64
// CHECK-COUNT-2: tdpbssd
// CHECK-COUNT-2: tilestored64
// CHECK-NOT: tdpbssd
// CHECK: %[[INTS:.*]] = llvm.load %{{.*}} -> vector<16xi32>
// CHECK-NEXT: %[[FLOATS:.*]] = arith.sitofp %[[INTS]]
// CHECK-NEXT: %[[SCALED:.*]] = arith.mulf %[[FLOATS]], %{{.*}}
// CHECK-NEXT: %[[FIRST:.*]] = math.fma %[[SCALED]], %{{.*}}, %{{.*}}
// CHECK: arith.mulf
// CHECK: %[[SECOND:.*]] = arith.mulf
// CHECK-NEXT: math.fma %[[SECOND]], %{{.*}}, %[[FIRST]]
// CHECK: scf.if %[[ENOUGH]] {
// CHECK-NEXT: llvm.call_intrinsic "llvm.x86.tilerelease"()
// CHECK-NEXT: }
// CHECK-NEXT: return
module @kernels attributes {kern.tier = "amx"} {
  func.func @codes_amx(%w: memref<2x18x32x4xi8>, %ws: memref<2x3x32xbf16>) attributes {kern.schedule = #kern.schedule<target = "amx", unit_block = 4, rows = 4, columns = 32, amx_rows = 3>} {
    %count, %row, %panel, %column = kern.program_id
    %a = kern.scratch : memref<8x80xi8>
    %as = kern.scratch : memref<8x3xf32>
    %ao = kern.scratch : memref<8x3xi32>
    %c = kern.scratch : memref<4x32xf32>
    %zero = arith.constant 0 : index
    %bytes = kern.scratch : memref<1x24x32x4xi8>
    kern.unpack (%w, %ws[%panel]) into %bytes[%zero] k 70 coding <group = 32, scale = bf16> input_group 32 : (memref<2x18x32x4xi8>, memref<2x3x32xbf16>) into memref<1x24x32x4xi8>
    kern.dot %count of 4 rows (%a, %as, %ao[%row]) by (%w, %ws[%panel]) into %c[%column] unpacked %bytes[%zero] k 70 coding <group = 32, scale = bf16> input_group 32
      : (memref<8x80xi8>, memref<8x3xf32>, memref<8x3xi32>) by (memref<2x18x32x4xi8>, memref<2x3x32xbf16>) into memref<4x32xf32> unpacked memref<1x24x32x4xi8>
    return
  }
}

// -----

// A weight's group of 64 is two units of the input: their products stand in the ring together, and a row adds both before it scales the group.
// CHECK-LABEL: func.func @groups_amx(
// CHECK: tdpbssd
// CHECK: scf.for %[[G:.*]] = %c0 to %c2 step %c1 iter_args(
// CHECK: tilestored64
// CHECK: %[[ONE:.*]] = arith.sitofp
// CHECK: %[[PART:.*]] = math.fma %[[ONE]], %{{.*}}, %[[ZEROS:.*]] :
// CHECK: %[[TWO:.*]] = arith.sitofp
// CHECK: %[[BOTH:.*]] = math.fma %[[TWO]], %{{.*}}, %[[PART]]
// CHECK: math.fma %[[BOTH]]
module @kernels attributes {kern.tier = "amx"} {
  func.func @groups_amx(%w: memref<2x48x32x4xi8>, %ws: memref<2x3x32xbf16>) attributes {kern.schedule = #kern.schedule<target = "amx", unit_block = 4, rows = 4, columns = 16, amx_rows = 1>} {
    %count, %row, %panel, %column = kern.program_id
    %a = kern.scratch : memref<8x192xi8>
    %as = kern.scratch : memref<8x6xf32>
    %ao = kern.scratch : memref<8x6xi32>
    %c = kern.scratch : memref<4x32xf32>
    %bytes = kern.scratch : memref<1x48x32x4xi8>
    kern.dot %count of 4 rows (%a, %as, %ao[%row]) by (%w, %ws[%panel]) into %c[%column] unpacked %bytes[%panel] k 192 coding <group = 64, scale = bf16> input_group 32
      : (memref<8x192xi8>, memref<8x6xf32>, memref<8x6xi32>) by (memref<2x48x32x4xi8>, memref<2x3x32xbf16>) into memref<4x32xf32> unpacked memref<1x48x32x4xi8>
    return
  }
}

// -----

// avxvnni: two vpdpbusd on half of the bytes each, from the same start as on avx512vnni.
// CHECK-LABEL: func.func @codes_avxvnni(
// CHECK: %[[OFFSET:.*]] = llvm.load %{{.*}} -> i32
// CHECK-NEXT: %[[START:.*]] = vector.broadcast %[[OFFSET]] : i32 to vector<16xi32>
// CHECK: iter_args(%[[SUM:.*]] = %[[START]])
// CHECK: %[[S0:.*]] = vector.extract_strided_slice %[[SUM]] {offsets = [0], sizes = [8], strides = [1]}
// CHECK: %[[W0:.*]] = vector.extract_strided_slice %[[W:.*]] {offsets = [0], sizes = [32], strides = [1]}
// CHECK: %[[X0:.*]] = vector.extract_strided_slice %[[X:.*]] {offsets = [0], sizes = [32], strides = [1]}
// CHECK-NEXT: %[[P0:.*]] = llvm.call_intrinsic "llvm.x86.avx512.vpdpbusd.256"(%[[S0]], %[[W0]], %[[X0]])
// CHECK: %[[S1:.*]] = vector.extract_strided_slice %[[SUM]] {offsets = [8], sizes = [8], strides = [1]}
// CHECK: %[[W1:.*]] = vector.extract_strided_slice %[[W]] {offsets = [32], sizes = [32], strides = [1]}
// CHECK: %[[X1:.*]] = vector.extract_strided_slice %[[X]] {offsets = [32], sizes = [32], strides = [1]}
// CHECK-NEXT: %[[P1:.*]] = llvm.call_intrinsic "llvm.x86.avx512.vpdpbusd.256"(%[[S1]], %[[W1]], %[[X1]])
// CHECK-NEXT: vector.shuffle %[[P0]], %[[P1]] [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
// CHECK-NOT: maddubs
// CHECK: return
module @kernels attributes {kern.tier = "avxvnni"} {
  func.func @codes_avxvnni(%w: memref<2x18x32x4xi8>, %ws: memref<2x2x32xbf16>) attributes {kern.schedule = #kern.schedule<target = "avxvnni", unit_block = 4, rows = 1, columns = 16>} {
    %count, %row, %panel, %column = kern.program_id
    %a = kern.scratch : memref<4x80xi8>
    %as = kern.scratch : memref<4x2xf32>
    %ao = kern.scratch : memref<4x2xi32>
    %c = kern.scratch : memref<2x32xf32>
    kern.dot %count of 1 rows (%a, %as, %ao[%row]) by (%w, %ws[%panel]) into %c[%column] k 70 coding <group = 64, scale = bf16> input_group 64
      : (memref<4x80xi8>, memref<4x2xf32>, memref<4x2xi32>) by (memref<2x18x32x4xi8>, memref<2x2x32xbf16>) into memref<2x32xf32>
    return
  }
}

// -----

// Four products of bytes: one instruction on avx512vnni.
// CHECK-LABEL: func.func @bytes_vnni(
// CHECK: %[[V:.*]] = llvm.load %{{.*}} -> vector<64xi8>
// CHECK: %[[S:.*]] = llvm.call_intrinsic "llvm.x86.avx512.vpdpbusd.512"(%[[ZERO:.*]], %[[V]], %[[V]])
// CHECK-NEXT: llvm.call_intrinsic "llvm.x86.avx512.vpdpbusd.512"(%[[S]], %[[V]], %[[V]])
module @kernels attributes {kern.tier = "avx512vnni"} {
  func.func @bytes_vnni(%x: memref<2x64xi8>, %y: memref<2x16xi32>) attributes {kern.schedule = #kern.schedule<target = "avx512vnni", unit_block = 1, rows = 1, columns = 32>} {
    %zero = arith.constant 0 : index
    %zeros = arith.constant dense<0> : vector<16xi32>
    %v = vector.load %x[%zero, %zero] : memref<2x64xi8>, vector<64xi8>
    %s = kern.byte_dot %zeros, %v by %v
    %t = kern.byte_dot %s, %v by %v
    vector.store %t, %y[%zero, %zero] : memref<2x16xi32>, vector<16xi32>
    return
  }
}

// -----

// On x86-64-v3 the low seven bits of an unsigned byte and its high bit apart, since both together would saturate.
// CHECK-LABEL: func.func @bytes_v3(
// CHECK-DAG: %[[LOW:.*]] = arith.constant dense<127> : vector<32xi8>
// CHECK-DAG: %[[HIGH:.*]] = arith.constant dense<-128> : vector<32xi8>
// CHECK-DAG: %[[ONES:.*]] = arith.constant dense<1> : vector<16xi16>
// CHECK: %[[V:.*]] = llvm.load %{{.*}} -> vector<64xi8>
// CHECK: %[[H:.*]] = vector.extract_strided_slice %[[V]] {offsets = [0], sizes = [32], strides = [1]}
// CHECK-NEXT: %[[PART:.*]] = arith.andi %[[H]], %[[LOW]]
// CHECK-NEXT: %[[PAIRS:.*]] = llvm.call_intrinsic "llvm.x86.avx2.pmadd.ub.sw"(%[[PART]], %[[H]])
// CHECK-NEXT: %[[FOURS:.*]] = llvm.call_intrinsic "llvm.x86.avx2.pmadd.wd"(%[[PAIRS]], %[[ONES]])
// CHECK-NEXT: %[[FIRST:.*]] = arith.addi %{{.*}}, %[[FOURS]]
// CHECK-NEXT: %[[PART:.*]] = arith.andi %[[H]], %[[HIGH]]
// CHECK-NEXT: %[[PAIRS:.*]] = llvm.call_intrinsic "llvm.x86.avx2.pmadd.ub.sw"(%[[PART]], %[[H]])
// CHECK-NEXT: %[[FOURS:.*]] = llvm.call_intrinsic "llvm.x86.avx2.pmadd.wd"(%[[PAIRS]], %[[ONES]])
// CHECK-NEXT: arith.addi %[[FIRST]], %[[FOURS]]
// CHECK-COUNT-2: pmadd.ub.sw
// CHECK: vector.shuffle
// CHECK-NOT: vpdpbusd
module @kernels attributes {kern.tier = "x86-64-v3"} {
  func.func @bytes_v3(%x: memref<2x64xi8>, %y: memref<2x16xi32>) attributes {kern.schedule = #kern.schedule<target = "x86-64-v3", unit_block = 1, rows = 1, columns = 16>} {
    %zero = arith.constant 0 : index
    %sum = vector.load %y[%zero, %zero] : memref<2x16xi32>, vector<16xi32>
    %v = vector.load %x[%zero, %zero] : memref<2x64xi8>, vector<64xi8>
    %s = kern.byte_dot %sum, %v by %v
    vector.store %s, %y[%zero, %zero] : memref<2x16xi32>, vector<16xi32>
    return
  }
}

// -----

// Floats: one chain of multiply-adds over k a column, whatever the number of rows.
// CHECK-LABEL: func.func @floats(
// CHECK: scf.index_switch
// CHECK: case 1 {
// CHECK: scf.for %{{.*}} = %c0 to %c70 step %c1 iter_args(%[[LEFT:.*]] = %{{.*}}, %[[RIGHT:.*]] = %{{.*}})
// CHECK: %[[W0:.*]] = llvm.load %{{.*}} -> vector<16xf32>
// CHECK: %[[W1:.*]] = llvm.load %{{.*}} -> vector<16xf32>
// CHECK: %[[X:.*]] = vector.broadcast %{{.*}} : f32 to vector<16xf32>
// CHECK-NEXT: %[[L:.*]] = math.fma %[[X]], %[[W0]], %[[LEFT]]
// CHECK-NEXT: %[[R:.*]] = math.fma %[[X]], %[[W1]], %[[RIGHT]]
// CHECK-NEXT: scf.yield %[[L]], %[[R]]
// CHECK: case 2 {
// CHECK-COUNT-4: math.fma
// CHECK: default {
// CHECK-COUNT-6: math.fma
// CHECK-NOT: math.fma
// CHECK: return
module @kernels attributes {kern.tier = "avx512vnni"} {
  func.func @floats(%a: memref<?x96xf32>, %w: memref<2x70x32xf32>) attributes {kern.schedule = #kern.schedule<target = "avx512vnni", unit_block = 4, rows = 3, columns = 32>} {
    %count, %row, %panel, %column = kern.program_id
    %c = kern.scratch : memref<3x32xf32>
    kern.dot %count of 3 rows (%a[%row]) by (%w[%panel]) into %c[%column] k 70 : (memref<?x96xf32>) by (memref<2x70x32xf32>) into memref<3x32xf32>
    return
  }
}

// -----

// bf16: 64 bytes are a pair of elements along k for 16 columns, the first of which a shift and the second of which a mask makes f32. One chain of
// multiply-adds for each output, k in order; of the last pair of an odd k only the first counts.
// CHECK-LABEL: func.func @pairs(
// CHECK-DAG: %[[SIXTEEN:.*]] = arith.constant dense<16> : vector<16xi32>
// CHECK-DAG: %[[HIGH:.*]] = arith.constant dense<-65536> : vector<16xi32>
// CHECK: scf.for %{{.*}} = %c0 to %c35 step %c1 iter_args(%[[SUM:.*]] = %{{.*}}) -> (vector<16xf32>)
// CHECK: %[[PAIR:.*]] = llvm.load %{{.*}} {alignment = 2 : i64} : !llvm.ptr -> vector<32xbf16>
// CHECK-NEXT: %[[WORDS:.*]] = vector.bitcast %[[PAIR]] : vector<32xbf16> to vector<16xi32>
// CHECK-NEXT: %[[SHIFTED:.*]] = arith.shli %[[WORDS]], %[[SIXTEEN]]
// CHECK-NEXT: %[[MASKED:.*]] = arith.andi %[[WORDS]], %[[HIGH]]
// CHECK-NEXT: %[[EVEN:.*]] = vector.bitcast %[[SHIFTED]] : vector<16xi32> to vector<16xf32>
// CHECK-NEXT: %[[ODD:.*]] = vector.bitcast %[[MASKED]] : vector<16xi32> to vector<16xf32>
// CHECK: %[[HALFWAY:.*]] = math.fma %{{.*}}, %[[EVEN]], %[[SUM]]
// CHECK: %[[NEXT:.*]] = math.fma %{{.*}}, %[[ODD]], %[[HALFWAY]]
// CHECK-NEXT: scf.yield %[[NEXT]]
// CHECK: arith.shli
// CHECK: math.fma
// CHECK-NOT: math.fma
// CHECK: llvm.store
module @kernels attributes {kern.tier = "avx512vnni"} {
  func.func @pairs(%a: memref<?x96xf32>, %w: memref<2x36x32x2xbf16>) attributes {kern.schedule = #kern.schedule<target = "avx512vnni", unit_block = 4, rows = 1, columns = 16>} {
    %count, %row, %panel, %column = kern.program_id
    %c = kern.scratch : memref<1x32xf32>
    kern.dot %count of 1 rows (%a[%row]) by (%w[%panel]) into %c[%column] k 71 : (memref<?x96xf32>) by (memref<2x36x32x2xbf16>) into memref<1x32xf32>
    return
  }
}

// -----

// f16 stands like f32 and is extended.
// CHECK-LABEL: func.func @halves(
// CHECK: %[[HALF:.*]] = llvm.load %{{.*}} {alignment = 2 : i64} : !llvm.ptr -> vector<16xf16>
// CHECK-NEXT: %[[W:.*]] = arith.extf %[[HALF]] : vector<16xf16> to vector<16xf32>
// CHECK: math.fma %{{.*}}, %[[W]], %{{.*}}
module @kernels attributes {kern.tier = "avx512vnni"} {
  func.func @halves(%a: memref<?x96xf32>, %w: memref<2x70x32xf16>) attributes {kern.schedule = #kern.schedule<target = "avx512vnni", unit_block = 4, rows = 1, columns = 16>} {
    %count, %row, %panel, %column = kern.program_id
    %c = kern.scratch : memref<1x32xf32>
    kern.dot %count of 1 rows (%a[%row]) by (%w[%panel]) into %c[%column] k 70 : (memref<?x96xf32>) by (memref<2x70x32xf16>) into memref<1x32xf32>
    return
  }
}

// -----

// Activations in bf16: pairs by pairs, two products a lane and instruction; the padding of an odd k is multiplied too.
// CHECK-LABEL: func.func @both_bf16(
// CHECK: scf.for %[[STEP:.*]] = %c0 to %c36 step %c1 iter_args(%[[LEFT:.*]] = %{{.*}}, %[[RIGHT:.*]] = %{{.*}})
// CHECK: %[[W0:.*]] = llvm.load %{{.*}} {alignment = 2 : i64} : !llvm.ptr -> vector<32xbf16>
// CHECK: %[[W1:.*]] = llvm.load %{{.*}} {alignment = 2 : i64} : !llvm.ptr -> vector<32xbf16>
// CHECK: %[[TWO:.*]] = llvm.load %{{.*}} {alignment = 4 : i64} : !llvm.ptr -> i32
// CHECK-NEXT: %[[SPLAT:.*]] = vector.broadcast %[[TWO]] : i32 to vector<16xi32>
// CHECK-NEXT: %[[X:.*]] = vector.bitcast %[[SPLAT]] : vector<16xi32> to vector<32xbf16>
// CHECK-NEXT: %[[L:.*]] = llvm.call_intrinsic "llvm.x86.avx512bf16.dpbf16ps.512"(%[[LEFT]], %[[W0]], %[[X]]) : (vector<16xf32>, vector<32xbf16>, vector<32xbf16>) -> vector<16xf32>
// CHECK-NEXT: %[[R:.*]] = llvm.call_intrinsic "llvm.x86.avx512bf16.dpbf16ps.512"(%[[RIGHT]], %[[W1]], %[[X]])
// CHECK-NEXT: scf.yield %[[L]], %[[R]]
// CHECK-NOT: math.fma
// CHECK: return
module @kernels attributes {kern.tier = "avx512vnni+bf16"} {
  func.func @both_bf16(%w: memref<2x36x32x2xbf16>) attributes {kern.schedule = #kern.schedule<target = "avx512vnni+bf16", unit_block = 4, rows = 1, columns = 32>} {
    %count, %row, %panel, %column = kern.program_id
    %a = kern.scratch : memref<4x80xbf16>
    %c = kern.scratch : memref<1x32xf32>
    kern.dot %count of 1 rows (%a[%row]) by (%w[%panel]) into %c[%column] k 71 : (memref<4x80xbf16>) by (memref<2x36x32x2xbf16>) into memref<1x32xf32>
    return
  }
}

// -----

// GFNI: the high half of each byte comes down by one product with a matrix of bits (byte 7 - i of eight makes bit i), the low half by a mask.
// CHECK-LABEL: func.func @gfni(
// CHECK-DAG: %[[LOW:.*]] = arith.constant dense<15> : vector<64xi8>
// CHECK-DAG: %[[MATRIX:.*]] = arith.constant dense<[0, 0, 0, 0, -128, 64, 32, 16, 0, 0, 0, 0, -128, 64, 32, 16, {{.*}}]> : vector<64xi8>
// CHECK: %[[CODES:.*]] = llvm.load %{{.*}} -> vector<64xi8>
// CHECK-NEXT: %[[EVEN:.*]] = arith.andi %[[CODES]], %[[LOW]] : vector<64xi8>
// CHECK-NEXT: %[[ODD:.*]] = llvm.call_intrinsic "llvm.x86.vgf2p8affineqb.512"(%[[CODES]], %[[MATRIX]], %{{.*}}) : (vector<64xi8>, vector<64xi8>, i8) -> vector<64xi8>
// CHECK: llvm.call_intrinsic "llvm.x86.avx512.vpdpbusd.512"(%{{.*}}, %[[EVEN]], %{{.*}})
// CHECK: llvm.call_intrinsic "llvm.x86.avx512.vpdpbusd.512"(%{{.*}}, %[[ODD]], %{{.*}})
// CHECK-NOT: arith.shrui
module @kernels attributes {kern.tier = "avx512vnni+gfni"} {
  func.func @gfni(%w: memref<2x8x32x4xi8>, %ws: memref<2x2x32xf16>) attributes {kern.schedule = #kern.schedule<target = "avx512vnni+gfni", unit_block = 4, rows = 1, columns = 16>} {
    %count, %row, %panel, %column = kern.program_id
    %a = kern.scratch : memref<4x64xi8>
    %as = kern.scratch : memref<4x2xf32>
    %ao = kern.scratch : memref<4x2xi32>
    %c = kern.scratch : memref<1x32xf32>
    kern.dot %count of 1 rows (%a, %as, %ao[%row]) by (%w, %ws[%panel]) into %c[%column] k 64 coding <bits = 4, group = 32, scale = f16, bias = 8, method = "kept"> input_group 32
      : (memref<4x64xi8>, memref<4x2xf32>, memref<4x2xi32>) by (memref<2x8x32x4xi8>, memref<2x2x32xf16>) into memref<1x32xf32>
    return
  }
}

// -----

// Spans of 256 are chains of their own, added in order; the last one is short.
// CHECK-LABEL: func.func @spans(
// CHECK-COUNT-2: llvm.store %[[ZERO:.*]], %{{.*}} : vector<16xf32>, !llvm.ptr
// CHECK: scf.for %[[SPAN:.*]] = %c0 to %c2 step %c1 {
// CHECK: %[[START:.*]] = arith.muli %[[SPAN]], %c256
// CHECK: %[[SUMS:.*]]:2 = scf.for %[[WITHIN:.*]] = %c0 to %c256 step %c1 iter_args(%{{.*}} = %[[ZERO]], %{{.*}} = %[[ZERO]])
// CHECK-NEXT: arith.addi %[[START]], %[[WITHIN]]
// CHECK: scf.yield
// CHECK: %[[BEFORE:.*]] = llvm.load %{{.*}} -> vector<16xf32>
// CHECK-NEXT: %[[AFTER:.*]] = arith.addf %[[BEFORE]], %[[SUMS]]#0
// CHECK: llvm.store %[[AFTER]]
// CHECK: scf.for %{{.*}} = %c0 to %c88 step %c1 iter_args(%{{.*}} = %[[ZERO]], %{{.*}} = %[[ZERO]])
// CHECK-COUNT-2: arith.addf
// CHECK: return
module @kernels attributes {kern.tier = "avx512vnni"} {
  func.func @spans(%a: memref<?x608xf32>, %w: memref<2x600x32xf32>) attributes {kern.schedule = #kern.schedule<target = "avx512vnni", unit_block = 1, rows = 1, columns = 32>} {
    %count, %row, %panel, %column = kern.program_id
    %c = kern.scratch : memref<1x32xf32>
    kern.dot %count of 1 rows (%a[%row]) by (%w[%panel]) into %c[%column] k 600 : (memref<?x608xf32>) by (memref<2x600x32xf32>) into memref<1x32xf32>
    return
  }
}

// -----

// With a library: one call of the step's function for all rows, with the addresses of row and panel and their strides.
// CHECK-LABEL: func.func @library_floats(
// CHECK-SAME: %{{[^:]+}}: !llvm.ptr, %[[STEP:[^:]+]]: !llvm.ptr, %[[COUNT:[^:]+]]: i64
// CHECK-DAG: %[[K:.*]] = arith.constant 70 : i64
// CHECK-DAG: %[[STRIDE:.*]] = arith.constant 96 : i64
// CHECK-DAG: %[[WIDTH:.*]] = arith.constant 64 : i64
// CHECK: %[[AT:.*]] = llvm.getelementptr %[[STEP]][152]
// CHECK-NEXT: %[[LIBRARY:.*]] = llvm.load %[[AT]]
// CHECK: %[[FLOATS:.*]] = llvm.load %[[LIBRARY]]
// CHECK-NEXT: llvm.call %[[FLOATS]](%[[LIBRARY]], %[[COUNT]], %[[K]], %{{.*}}, %[[STRIDE]], %{{.*}}, %{{.*}}, %[[WIDTH]]) : !llvm.ptr, (!llvm.ptr, i64, i64, !llvm.ptr, i64, !llvm.ptr, !llvm.ptr, i64) -> ()
// CHECK-NOT: math.fma
// CHECK: return
module @kernels attributes {kern.tier = "avx512vnni"} {
  func.func @library_floats(%a: memref<?x96xf32>, %w: memref<2x70x32xf32>) attributes {kern.schedule = #kern.schedule<target = "avx512vnni", unit_block = 100, rows = 3, columns = 32, library = "onednn", library_rows = 16>} {
    %count, %row, %panel, %column = kern.program_id
    %c = kern.scratch : memref<100x64xf32>
    kern.dot %count of 100 rows library "onednn" (%a[%row]) by (%w[%panel]) into %c[%column] k 70 : (memref<?x96xf32>) by (memref<2x70x32xf32>) into memref<100x64xf32>
    return
  }
}

// -----

// Codes: spread to rows of signed bytes, then the exact sums of each unit of 32, scaled as our own products are. The scratch holds the tile, the bytes and the
// sums of the two units of a group.
// CHECK-LABEL: func.func @library_bytes(
// CHECK-SAME: kern.scratch_bytes = 18816 : i64
// CHECK-DAG: %[[BIAS:.*]] = arith.constant -2139062144 : i32
// CHECK-DAG: %[[UNIT:.*]] = arith.constant 32 : i64
// CHECK-DAG: %[[LAST:.*]] = arith.constant 6 : i64
// CHECK-DAG: %[[STRIDE:.*]] = arith.constant 80 : i64
// CHECK-DAG: %[[BYTES:.*]] = arith.constant 72 : i64
// CHECK: scf.for %{{.*}} = %c0 to %c18 step %c1
// CHECK-NEXT: scf.for %{{.*}} = %c0 to %c32 step %c1
// CHECK: %[[CODES:.*]] = llvm.load %{{.*}} -> i32
// CHECK: arith.xori %[[CODES]], %[[BIAS]]
// CHECK: scf.for %[[PLACE:.*]] = %c0 to %c2 step %c1
// CHECK: llvm.getelementptr %{{.*}}[8]
// CHECK: llvm.call %{{.*}}(%{{.*}}, %{{.*}}, %[[UNIT]], %{{.*}}, %[[STRIDE]], %{{.*}}, %[[BYTES]], %{{.*}}) : !llvm.ptr, (!llvm.ptr, i64, i64, !llvm.ptr, i64, !llvm.ptr, i64, !llvm.ptr) -> ()
// CHECK: %[[SUM:.*]] = llvm.load %{{.*}} -> vector<16xi32>
// CHECK: %[[FLOAT:.*]] = arith.sitofp %[[SUM]]
// CHECK-NEXT: math.fma %[[FLOAT]]
// CHECK: llvm.call %{{.*}}(%{{.*}}, %{{.*}}, %[[LAST]],
// CHECK-NOT: vpdpbusd
// CHECK: return
module @kernels attributes {kern.tier = "avx512vnni"} {
  func.func @library_bytes(%a: memref<?x80xi8>, %as: memref<?x3xf32>, %ao: memref<?x3xi32>, %w: memref<2x18x32x4xi8>, %ws: memref<2x2x32xbf16>) attributes {kern.schedule = #kern.schedule<target = "avx512vnni", unit_block = 43, rows = 3, columns = 32, library = "onednn", library_rows = 16>} {
    %count, %row, %panel, %column = kern.program_id
    %c = kern.scratch : memref<43x32xf32>
    kern.dot %count of 43 rows library "onednn" (%a, %as, %ao[%row]) by (%w, %ws[%panel]) into %c[%column] k 70 coding <group = 64, scale = bf16> input_group 32
      : (memref<?x80xi8>, memref<?x3xf32>, memref<?x3xi32>) by (memref<2x18x32x4xi8>, memref<2x2x32xbf16>) into memref<43x32xf32>
    return
  }
}
