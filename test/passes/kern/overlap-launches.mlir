// RUN: lathe-opt %s --kern-overlap-launches | FileCheck %s

// A kernel asks for the columns that its products will read, each once, by the grid's tile alone; then it waits, and lets the next launch start. What it knows of
// the batch comes behind the wait.
// CHECK-LABEL: module @cuda
// CHECK: func.func @products(%[[X:.*]]: memref<8x64xbf16>, %[[W:[a-z0-9]*]]: memref<8x2x8x32xbf16>, %[[V:[a-z0-9]*]]: memref<8x2x8x32xbf16>
// CHECK-NEXT: %[[U0:.*]], %[[U1:.*]], %[[TILE:.*]], %[[T1:.*]] = kern.program_id
// CHECK-NEXT: %[[FOUR:.*]] = arith.constant 4 : index
// CHECK-NEXT: %[[PANEL:.*]] = arith.muli %[[TILE]], %[[FOUR]]
// CHECK-NEXT: kern.prefetch %[[W]][%[[PANEL]]] columns 32 : memref<8x2x8x32xbf16>
// CHECK-NEXT: kern.prefetch %[[V]][%[[TILE]]] columns 32 : memref<8x2x8x32xbf16>
// CHECK-NEXT: kern.dependency_wait
// CHECK-NEXT: kern.dependency_trigger
// CHECK: %[[FIRST:.*]], %[[LAST:.*]], %{{.*}}, %{{.*}} = kern.program_id
// CHECK: arith.muli %[[TILE]],
// CHECK-COUNT-3: kern.block_dot
// CHECK-NOT: kern.dependency_wait
module @cuda {
  func.func @products(%x: memref<8x64xbf16>, %w: memref<8x2x8x32xbf16>, %v: memref<8x2x8x32xbf16>, %out: memref<8x32xf32>) {
    %first, %last, %tile, %end = kern.program_id
    %c4 = arith.constant 4 : index
    %panel = arith.muli %tile, %c4 : index
    kern.block_dot %last rows (%x) by (%w[%panel]) into %out : memref<8x64xbf16> by memref<8x2x8x32xbf16> into memref<8x32xf32>
    kern.block_dot %last rows (%x) by (%w[%panel]) into %out : memref<8x64xbf16> by memref<8x2x8x32xbf16> into memref<8x32xf32>
    kern.block_dot %last rows (%x) by (%v[%tile]) into %out : memref<8x64xbf16> by memref<8x2x8x32xbf16> into memref<8x32xf32>
    return
  }

  // A last block with fewer columns than the others asks for the weight's last.
  // CHECK-LABEL: func.func @many
  // CHECK: %[[PANEL:.*]] = arith.muli
  // CHECK: %[[MOST:.*]] = arith.constant 4 : index
  // CHECK: %[[FIRST:.*]] = arith.minsi %[[PANEL]], %[[MOST]]
  // CHECK-NEXT: kern.prefetch %{{.*}}[%[[FIRST]]] columns 64 : memref<12x2x8x32xbf16>
  func.func @many(%w: memref<12x2x8x32xbf16>) {
    %first, %last, %tile, %end = kern.program_id
    %c4 = arith.constant 4 : index
    %panel = arith.muli %tile, %c4 : index
    %sums = kern.gemm_start (%w[%panel]) : memref<12x2x8x32xbf16> -> memref<64x64xf32, "registers">
    return
  }

  // A panel that follows from the rows is not known before the wait.
  // CHECK-LABEL: func.func @gathered
  // CHECK-NEXT: kern.dependency_wait
  // CHECK-NEXT: kern.dependency_trigger
  // CHECK-NOT: kern.prefetch
  func.func @gathered(%x: memref<8x64xbf16>, %w: memref<8x2x8x32xbf16>, %out: memref<8x32xf32>) {
    %first, %last, %tile, %end = kern.program_id
    %token = kern.batch token_ids[%first]
    kern.block_dot %last rows (%x) by (%w[%token]) into %out : memref<8x64xbf16> by memref<8x2x8x32xbf16> into memref<8x32xf32>
    return
  }
}

// CPUs have no such launches.
// CHECK-LABEL: module @avxvnni
// CHECK-NOT: kern.dependency_wait
module @avxvnni {
  func.func @products(%x: memref<?x64xf32>) {
    return
  }
}
