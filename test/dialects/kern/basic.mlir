// Every op and attribute prints what it parses, and its generic form means the same.
// RUN: lathe-opt %s | lathe-opt | FileCheck %s
// RUN: lathe-opt %s --mlir-print-op-generic | lathe-opt | FileCheck %s

#rope = #lm.rope<layout = half, theta = 1.0e4, type = "default", params = {}>

// The host program: one array of a packed weight each, in all orders; buffers with and without a slot; pages; launches.
// CHECK-LABEL: func.func @step()
// CHECK-NEXT: %[[CODES:.*]] = kern.weight codes ["q", "k", "v"] pack <order = heads, dim = 24> coding <group = 64, scale = bf16> k 70 : memref<4x18x32x4xi8>
// CHECK-NEXT: %[[SCALES:.*]] = kern.weight scales ["q", "k", "v"] pack <order = heads, dim = 24> coding <group = 64, scale = bf16> k 70 : memref<4x2x32xbf16>
// CHECK-NEXT: kern.weight values ["o"] pack <order = flat, dim = 1> k 70 : memref<3x70x32xf32>
// CHECK-NEXT: kern.weight values ["gate", "up"] pack <order = interleaved, dim = 16> k 70 : memref<5x70x32xf32>
// CHECK-NEXT: kern.weight values ["up"] pack <order = flat, dim = 1> k 71 : memref<3x36x32x2xbf16>
// CHECK-NEXT: kern.weight values ["down"] pack <order = flat, dim = 1> k 71 : memref<3x71x32xf16>
// CHECK-NEXT: kern.weight vector ["norm"] k 1 : memref<80xf32>
// CHECK-NEXT: kern.weight vector ["q.bias", "zeros 24", "v.bias"] pack <order = heads, dim = 24> k 1 : memref<128xf32>
// CHECK-NEXT: kern.weight rope_low [] rope #lm.rope<layout = half, theta = 1.000000e+04 : f64, type = "default", params = {}> k 24 : memref<2x256x16xf32>
// CHECK-NEXT: kern.weight rope_high [] rope #lm.rope<{{.*}}> k 24 : memref<2x3x16xf32>
// CHECK-NEXT: %[[X:.*]] = kern.buffer rows : memref<?x96xf32>
// CHECK-NEXT: %[[Y:.*]] = kern.buffer rows slot 1 : memref<?x64xf32>
// CHECK-NEXT: kern.buffer logit_rows logits : memref<?x512xf32>
// CHECK-NEXT: kern.buffer items slot 2 : memref<?x32xf32>
// CHECK-NEXT: %[[K:.*]] = kern.kv 0 keys : memref<?x2x32x32xf32>
// CHECK-NEXT: kern.kv 3 : memref<?x2x32x32xbf16>
// CHECK-NEXT: kern.kv 4 keys : memref<?x2x10x32x4xi8>
// CHECK-NEXT: kern.launch @qkv(%[[X]], %[[CODES]], %[[SCALES]], %[[K]], %[[Y]]) : memref<?x96xf32>, memref<4x18x32x4xi8>, memref<4x2x32xbf16>, memref<?x2x32x32xf32>, memref<?x64xf32>
func.func @step() {
  %codes = kern.weight codes ["q", "k", "v"] pack <order = heads, dim = 24> coding <group = 64, scale = bf16> k 70 : memref<4x18x32x4xi8>
  %scales = kern.weight scales ["q", "k", "v"] pack <order = heads, dim = 24> coding <group = 64, scale = bf16> k 70 : memref<4x2x32xbf16>
  %o = kern.weight values ["o"] pack <order = flat, dim = 1> k 70 : memref<3x70x32xf32>
  %gate_up = kern.weight values ["gate", "up"] pack <order = interleaved, dim = 16> k 70 : memref<5x70x32xf32>
  %up = kern.weight values ["up"] pack <order = flat, dim = 1> k 71 : memref<3x36x32x2xbf16>
  %down = kern.weight values ["down"] pack <order = flat, dim = 1> k 71 : memref<3x71x32xf16>
  %gain = kern.weight vector ["norm"] k 1 : memref<80xf32>
  %bias = kern.weight vector ["q.bias", "zeros 24", "v.bias"] pack <order = heads, dim = 24> k 1 : memref<128xf32>
  %low = kern.weight rope_low [] rope #rope k 24 : memref<2x256x16xf32>
  %high = kern.weight rope_high [] rope #rope k 24 : memref<2x3x16xf32>
  %x = kern.buffer rows : memref<?x96xf32>
  %y = kern.buffer rows slot 1 : memref<?x64xf32>
  %logits = kern.buffer logit_rows logits : memref<?x512xf32>
  %b = kern.buffer items slot 2 : memref<?x32xf32>
  %keys = kern.kv 0 keys : memref<?x2x32x32xf32>
  %values = kern.kv 3 : memref<?x2x32x32xbf16>
  %bytes = kern.kv 4 keys : memref<?x2x10x32x4xi8>
  kern.launch @qkv(%x, %codes, %scales, %keys, %y) : memref<?x96xf32>, memref<4x18x32x4xi8>, memref<4x2x32xbf16>, memref<?x2x32x32xf32>, memref<?x64xf32>
  return
}

// A tier's module holds the kernel that is launched, with the launch's types and what the plan needs to know of it.
// CHECK-LABEL: module @avx512vnni attributes {kern.tier = "avx512vnni"}
// CHECK: func.func @qkv(
// CHECK-SAME: kern.schedule = #kern.schedule<target = "avx512vnni", unit_block = 48, rows = 6, columns = 32>
// CHECK-SAME: kern.unit = #kern<unit rows>
module @avx512vnni attributes {kern.tier = "avx512vnni"} {
  func.func @qkv(%x: memref<?x96xf32>, %codes: memref<4x18x32x4xi8>, %scales: memref<4x2x32xbf16>, %keys: memref<?x2x32x32xf32>, %y: memref<?x64xf32>)
      attributes {kern.schedule = #kern.schedule<target = "avx512vnni", unit_block = 48, rows = 6, columns = 32>, kern.unit = #kern<unit rows>,
                  kern.tiles = 4, kern.tile_bytes = 2432, kern.unit_flops = 1, kern.fused = "linear"} {
    return
  }
}

// What a call is to compute, the batch's arrays, and a sequence's pages.
// CHECK-LABEL: func.func @indices()
// CHECK-NEXT: %[[U0:.*]], %[[U1:.*]], %[[T0:.*]], %[[T1:.*]] = kern.program_id
// CHECK-NEXT: kern.batch token_ids[%[[U0]]]
// CHECK-NEXT: %[[SEQUENCE:.*]] = kern.batch row_sequence[%[[U0]]]
// CHECK-NEXT: %[[POSITION:.*]] = kern.batch row_position[%[[U0]]]
// CHECK-NEXT: kern.batch logit_row[%[[U1]]]
// CHECK-NEXT: kern.batch item_row[%[[T1]]]
// CHECK-NEXT: kern.gather_pages %[[SEQUENCE]], %[[POSITION]]
func.func @indices() {
  %u0, %u1, %t0, %t1 = kern.program_id
  %token = kern.batch token_ids[%u0]
  %sequence = kern.batch row_sequence[%u0]
  %position = kern.batch row_position[%u0]
  %row = kern.batch logit_row[%u1]
  %block = kern.batch item_row[%t1]
  %page = kern.gather_pages %sequence, %position
  return
}

// A panel as signed bytes, k padded to whole units of 32, and a product that may take it in tiles.
// CHECK-LABEL: func.func @unpacked(
// CHECK-SAME: %[[W:.*]]: memref<3x9x32x4xi8>, %[[WS:.*]]: memref<3x2x32xbf16>, %[[N:.*]]: index)
// CHECK-SAME: #kern.schedule<target = "amx", unit_block = 48, rows = 12, columns = 32, amx_rows = 5>
// CHECK: kern.unpack(%[[W]], %[[WS]][%[[N]]]) into %[[B:.*]][%[[N]]] k 70 coding <bits = 4, group = 64, scale = bf16, bias = 8> input_group 32 : (memref<3x9x32x4xi8>, memref<3x2x32xbf16>) into memref<2x24x32x4xi8>
// CHECK: kern.dot %[[N]] of 12 rows(%{{.*}}) by(%[[W]], %[[WS]][%[[N]]]) into %{{.*}}[%[[N]]] unpacked %[[B]][%[[N]]] k 70 coding <bits = 4, group = 64, scale = bf16, bias = 8> input_group 32 :
// CHECK-SAME: into memref<12x32xf32> unpacked memref<2x24x32x4xi8>
func.func @unpacked(%w: memref<3x9x32x4xi8>, %ws: memref<3x2x32xbf16>, %n: index) attributes {
    kern.schedule = #kern.schedule<target = "amx", unit_block = 48, rows = 12, columns = 32, amx_rows = 5>} {
  %a = kern.scratch : memref<60x80xi8>
  %as = kern.scratch : memref<60x3xf32>
  %ao = kern.scratch : memref<60x3xi32>
  %b = kern.scratch : memref<2x24x32x4xi8>
  %c = kern.scratch : memref<12x32xf32>
  kern.unpack (%w, %ws[%n]) into %b[%n] k 70 coding <bits = 4, group = 64, scale = bf16, bias = 8> input_group 32 : (memref<3x9x32x4xi8>, memref<3x2x32xbf16>) into memref<2x24x32x4xi8>
  kern.dot %n of 12 rows (%a, %as, %ao[%n]) by (%w, %ws[%n]) into %c[%n] unpacked %b[%n] k 70 coding <bits = 4, group = 64, scale = bf16, bias = 8> input_group 32
    : (memref<60x80xi8>, memref<60x3xf32>, memref<60x3xi32>) by (memref<3x9x32x4xi8>, memref<3x2x32xbf16>) into memref<12x32xf32> unpacked memref<2x24x32x4xi8>
  return
}

// Dots of floats and of codes in groups with a short last one, into private memory; both reductions.
// CHECK-LABEL: func.func @tile(
// CHECK-SAME: %[[A:.*]]: memref<?x96xf32>, %[[W:.*]]: memref<3x70x32xf32>, %[[W16:.*]]: memref<3x36x32x2xbf16>, %[[W8:.*]]: memref<3x18x32x4xi8>, %[[WS:.*]]: memref<3x2x32xbf16>, %[[N:.*]]: index, %[[V:.*]]: vector<16xf32>
// CHECK: %[[C:.*]] = kern.scratch : memref<6x64xf32>
// CHECK: kern.dot %[[N]] of 6 rows(%[[A]][%[[N]]]) by(%[[W]][%[[N]]]) into %[[C]][%{{.*}}] k 70 : (memref<?x96xf32>) by(memref<3x70x32xf32>) into memref<6x64xf32>
// CHECK-NEXT: kern.dot %[[N]] of 6 rows library "onednn"(%[[A]][%[[N]]]) by(%[[W]][%[[N]]]) into %[[C]][%{{.*}}] k 70 :
// CHECK: kern.dot %[[N]] of 6 rows(%[[A]][%[[N]]]) by(%[[W16]][%[[N]]]) into %[[C]][%{{.*}}] k 71 : (memref<?x96xf32>) by(memref<3x36x32x2xbf16>) into memref<6x64xf32>
// CHECK: %[[A8:.*]] = kern.scratch : memref<48x80xi8>
// CHECK: %[[AS:.*]] = kern.scratch : memref<48x2xf32>
// CHECK: %[[AO:.*]] = kern.scratch : memref<48x2xi32>
// CHECK: kern.dot %[[N]] of 6 rows(%[[A8]], %[[AS]], %[[AO]][%[[N]]]) by(%[[W8]], %[[WS]][%[[N]]]) into %[[C]][%{{.*}}] k 70 coding <group = 64, scale = bf16> input_group 64 ahead %[[N]] : (memref<48x80xi8>, memref<48x2xf32>, memref<48x2xi32>) by(memref<3x18x32x4xi8>, memref<3x2x32xbf16>) into memref<6x64xf32>
// CHECK: kern.reduce add %[[V]] : vector<16xf32> -> f32
// CHECK: kern.reduce max %{{.*}} : vector<4xi32> -> i32
// CHECK: kern.byte_dot %[[SUMS:.*]], %[[BYTES:.*]] by %[[BYTES]]
func.func @tile(%a: memref<?x96xf32>, %w: memref<3x70x32xf32>, %w16: memref<3x36x32x2xbf16>, %w8: memref<3x18x32x4xi8>, %ws: memref<3x2x32xbf16>, %n: index, %v: vector<16xf32>, %i: vector<4xi32>, %sums: vector<16xi32>, %bytes: vector<64xi8>) {
  %column = arith.constant 32 : index
  %c = kern.scratch : memref<6x64xf32>
  kern.dot %n of 6 rows (%a[%n]) by (%w[%n]) into %c[%column] k 70 : (memref<?x96xf32>) by (memref<3x70x32xf32>) into memref<6x64xf32>
  kern.dot %n of 6 rows library "onednn" (%a[%n]) by (%w[%n]) into %c[%column] k 70 : (memref<?x96xf32>) by (memref<3x70x32xf32>) into memref<6x64xf32>
  kern.dot %n of 6 rows (%a[%n]) by (%w16[%n]) into %c[%column] k 71 : (memref<?x96xf32>) by (memref<3x36x32x2xbf16>) into memref<6x64xf32>
  %a8 = kern.scratch : memref<48x80xi8>
  %as = kern.scratch : memref<48x2xf32>
  %ao = kern.scratch : memref<48x2xi32>
  kern.dot %n of 6 rows (%a8, %as, %ao[%n]) by (%w8, %ws[%n]) into %c[%column] k 70 coding <group = 64, scale = bf16> input_group 64 ahead %n
    : (memref<48x80xi8>, memref<48x2xf32>, memref<48x2xi32>) by (memref<3x18x32x4xi8>, memref<3x2x32xbf16>) into memref<6x64xf32>
  %sum = kern.reduce add %v : vector<16xf32> -> f32
  %most = kern.reduce max %i : vector<4xi32> -> i32
  %next = kern.byte_dot %sums, %bytes by %bytes
  return
}

// What a GPU's kernel does around its wait for the launches before.
// CHECK-LABEL: func.func @overlaps(
// CHECK-SAME: %[[W:.*]]: memref<4x2x8x32xbf16>, %[[P:.*]]: index)
// CHECK-NEXT: kern.prefetch %[[W]][%[[P]]] columns 32 : memref<4x2x8x32xbf16>
// CHECK-NEXT: kern.dependency_wait
// CHECK-NEXT: kern.dependency_trigger
func.func @overlaps(%w: memref<4x2x8x32xbf16>, %p: index) {
  kern.prefetch %w[%p] columns 32 : memref<4x2x8x32xbf16>
  kern.dependency_wait
  kern.dependency_trigger
  return
}
