// A weight that is packed for a GPU: it prints what it parses.
// RUN: lathe-opt %s | lathe-opt | FileCheck %s
// RUN: lathe-opt %s --mlir-print-op-generic | lathe-opt | FileCheck %s

// Codes in panels of 8 features and blocks of 64, and a scale for each 32 or 64 elements, of which a group of 128 has two.
// CHECK-LABEL: func.func @weights()
// CHECK-NEXT: kern.weight codes ["q"] pack <order = flat, dim = 1> coding <group = 32, scale = bf16> k 70 : memref<8x2x8x64xi8>
// CHECK-NEXT: kern.weight scales ["q"] pack <order = flat, dim = 1> coding <group = 32, scale = bf16> k 70 : memref<8x4x8xbf16>
// CHECK-NEXT: kern.weight scales ["q"] pack <order = flat, dim = 1> coding <group = 128, scale = f32> k 70 : memref<8x2x8xf32>
func.func @weights() {
  %codes = kern.weight codes ["q"] pack <order = flat, dim = 1> coding <group = 32, scale = bf16> k 70 : memref<8x2x8x64xi8>
  %scales = kern.weight scales ["q"] pack <order = flat, dim = 1> coding <group = 32, scale = bf16> k 70 : memref<8x4x8xbf16>
  %twice = kern.weight scales ["q"] pack <order = flat, dim = 1> coding <group = 128, scale = f32> k 70 : memref<8x2x8xf32>
  return
}

// CHECK-LABEL: func.func @products(
// CHECK: kern.block_dot %{{.*}} rows(%{{.*}}) by(%{{.*}}[%{{.*}}]) into %{{.*}} : memref<8x160xbf16> by memref<8x5x8x32xbf16> into memref<8x32xf32>
// CHECK: kern.block_dot %{{.*}} rows(%{{.*}}) by(%{{.*}}, %{{.*}}[%{{.*}}]) into %{{.*}} : memref<8x160xbf16> by memref<8x2x8x64xi8>, memref<8x4x8xbf16> into memref<8x32xf32>
// CHECK: kern.block_dot %{{.*}} rows(%{{.*}} from %{{.*}}) by(%{{.*}}, %{{.*}}[%{{.*}}]) into %{{.*}} : memref<?x128xf32> by memref<8x2x8x64xi8>, memref<8x4x8xbf16> into memref<8x32xf32>
// CHECK: kern.load_codes %{{.*}}[%{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}] : memref<8x2x8x64xi8> -> vector<16xf32>
func.func @products(%count: index, %input: memref<8x160xbf16>, %weight: memref<8x5x8x32xbf16>, %codes: memref<8x2x8x64xi8>, %scales: memref<8x4x8xbf16>,
                    %rows: memref<?x128xf32>, %tile: memref<8x32xf32>) {
  kern.block_dot %count rows (%input) by (%weight[%count]) into %tile : memref<8x160xbf16> by memref<8x5x8x32xbf16> into memref<8x32xf32>
  kern.block_dot %count rows (%input) by (%codes, %scales[%count]) into %tile : memref<8x160xbf16> by memref<8x2x8x64xi8>, memref<8x4x8xbf16> into memref<8x32xf32>
  kern.block_dot %count rows (%rows from %count) by (%codes, %scales[%count]) into %tile : memref<?x128xf32> by memref<8x2x8x64xi8>, memref<8x4x8xbf16> into memref<8x32xf32>
  %some = kern.load_codes %codes[%count, %count, %count, %count] : memref<8x2x8x64xi8> -> vector<16xf32>
  return
}

// Attention over pages of floats and of codes, whose scales stand behind the keys' codes, and what is stored there.
// CHECK-LABEL: func.func @attention(
// CHECK: kern.block_scores %{{.*}} rows(%{{.*}}) by %{{.*}} of %{{.*}}, %{{.*}} chunk %{{.*}} pages %{{.*}} to %{{.*}} into %{{.*}} : memref<8x96xbf16> by memref<?x2x32x64xbf16> into memref<8x260xf32>
// CHECK: kern.block_scores %{{.*}} into %{{.*}} scales %{{.*}} : memref<8x96xbf16> by memref<?x2x72x32xi8> into memref<8x260xf32> scales memref<256xf32>
// CHECK: kern.block_weigh %{{.*}} : memref<8x260xf32> by memref<?x2x64x32xi8> into memref<8x64xf32>
// CHECK: kern.store_codes keys %{{.*}}, %{{.*}}[%{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}] : vector<16xi8>, memref<?x2x72x32xi8>
// CHECK: kern.store_codes %{{.*}}, %{{.*}}[%{{.*}}, %{{.*}}, %{{.*}}, %{{.*}}] : vector<16xi8>, memref<?x2x64x32xi8>
// CHECK: kern.store_scale keys %{{.*}}, %{{.*}}[%{{.*}}, %{{.*}}, %{{.*}}] : memref<?x2x72x32xi8>
// CHECK: kern.store_scale %{{.*}}, %{{.*}}[%{{.*}}, %{{.*}}, %{{.*}}] : memref<?x2x72x32xi8>
func.func @attention(%i: index, %q: memref<8x96xbf16>, %floats: memref<?x2x32x64xbf16>, %keys: memref<?x2x72x32xi8>, %values: memref<?x2x64x32xi8>,
                     %scores: memref<8x260xf32>, %scales: memref<256xf32>, %out: memref<8x64xf32>, %codes: vector<16xi8>, %scale: f32) {
  kern.block_scores %i rows (%q) by %floats of %i, %i chunk %i pages %i to %i into %scores : memref<8x96xbf16> by memref<?x2x32x64xbf16> into memref<8x260xf32>
  kern.block_scores %i rows (%q) by %keys of %i, %i chunk %i pages %i to %i into %scores scales %scales : memref<8x96xbf16> by memref<?x2x72x32xi8> into memref<8x260xf32> scales memref<256xf32>
  kern.block_weigh %i rows (%scores) by %values of %i, %i chunk %i pages %i to %i below %i into %out : memref<8x260xf32> by memref<?x2x64x32xi8> into memref<8x64xf32>
  kern.store_codes keys %codes, %keys[%i, %i, %i, %i] : vector<16xi8>, memref<?x2x72x32xi8>
  kern.store_codes %codes, %values[%i, %i, %i, %i] : vector<16xi8>, memref<?x2x64x32xi8>
  kern.store_scale keys %scale, %keys[%i, %i, %i] : memref<?x2x72x32xi8>
  kern.store_scale %scale, %keys[%i, %i, %i] : memref<?x2x72x32xi8>
  return
}

// Many rows: sums in registers, a stage of columns at a time, tiles of columns one behind the other.
// CHECK-LABEL: func.func @many(
// CHECK: %[[SUMS:.*]] = kern.gemm_start(%{{.*}}[%{{.*}}]) : memref<8x5x8x32xbf16> -> memref<64x64xf32, "registers">
// CHECK: kern.gemm_piece %{{.*}} of %{{.*}} rows(%{{.*}}[%{{.*}}]) into %[[SUMS]] : memref<2x2x64x32xbf16> into memref<64x64xf32, "registers">
// CHECK: kern.gemm_store %{{.*}} rows of %[[SUMS]] into %{{.*}} : memref<64x64xf32, "registers"> into memref<128x32xf32>
// CHECK: kern.gemm_start(%{{.*}}, %{{.*}}[%{{.*}}]) : memref<8x2x8x64xi8>, memref<8x4x8xbf16> -> memref<64x64xf32, "registers">
func.func @many(%i: index, %weight: memref<8x5x8x32xbf16>, %codes: memref<8x2x8x64xi8>, %scales: memref<8x4x8xbf16>, %input: memref<2x2x64x32xbf16>, %tile: memref<128x32xf32>) {
  %sums = kern.gemm_start (%weight[%i]) : memref<8x5x8x32xbf16> -> memref<64x64xf32, "registers">
  kern.gemm_piece %i of %i rows (%input[%i]) into %sums : memref<2x2x64x32xbf16> into memref<64x64xf32, "registers">
  kern.gemm_store %i rows of %sums into %tile : memref<64x64xf32, "registers"> into memref<128x32xf32>
  %of_codes = kern.gemm_start (%codes, %scales[%i]) : memref<8x2x8x64xi8>, memref<8x4x8xbf16> -> memref<64x64xf32, "registers">
  kern.gemm_piece %i of %i rows (%input[%i]) into %of_codes : memref<2x2x64x32xbf16> into memref<64x64xf32, "registers">
  return
}
