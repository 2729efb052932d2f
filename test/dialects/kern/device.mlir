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
