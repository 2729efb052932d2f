// RUN: lathe-opt %s --convert-kern-to-vector --split-input-file --verify-diagnostics

// expected-error@below {{expected a tier's module of kernels (attribute kern.tier)}}
module {
}

// -----

// expected-error@below {{expected tier amx (with +bf16, +gfni), avx512vnni (with +bf16, +gfni), avxvnni or x86-64-v3, found 'avx10'}}
module attributes {kern.tier = "avx10"} {
}

// -----

module attributes {kern.tier = "avx512vnni"} {
  // expected-error@below {{expected a kernel of one block with a kern.schedule}}
  func.func private @external(memref<?x64xf32>) attributes {kern.schedule = #kern.schedule<target = "avx512vnni", unit_block = 4, rows = 2, columns = 32>}
}

// -----

module attributes {kern.tier = "avx512vnni"} {
  // expected-error@below {{expected a kernel of one block with a kern.schedule}}
  func.func @unscheduled() {
    return
  }
}

// -----

module attributes {kern.tier = "avx512vnni"} {
  // expected-error@below {{expected bare buffers, found 'index'}}
  func.func @scalar(%i: index) attributes {kern.schedule = #kern.schedule<target = "avx512vnni", unit_block = 4, rows = 2, columns = 32>} {
    return
  }
}

// -----

module attributes {kern.tier = "avx512vnni"} {
  // expected-error@below {{expected bare buffers, found 'memref<?x?xf32>'}}
  func.func @dynamic(%x: memref<?x?xf32>) attributes {kern.schedule = #kern.schedule<target = "avx512vnni", unit_block = 4, rows = 2, columns = 32>} {
    return
  }
}

// -----

module attributes {kern.tier = "avx512vnni"} {
  // expected-error@below {{expected bare buffers, found 'memref<4x4xf32, strided<[8, 1]>>'}}
  func.func @strided(%x: memref<4x4xf32, strided<[8, 1]>>) attributes {kern.schedule = #kern.schedule<target = "avx512vnni", unit_block = 4, rows = 2, columns = 32>} {
    return
  }
}

// -----

module attributes {kern.tier = "avx512vnni"} {
  func.func @alloc() attributes {kern.schedule = #kern.schedule<target = "avx512vnni", unit_block = 4, rows = 2, columns = 32>} {
    // expected-error@below {{expected only loads, stores, prefetches, kern.unpack and kern.dot on a kernel's buffers}}
    %x = memref.alloc() : memref<4xf32>
    return
  }
}

// -----

module attributes {kern.tier = "avx512vnni"} {
  func.func @pass_on(%x: memref<?x64xf32>) attributes {kern.schedule = #kern.schedule<target = "avx512vnni", unit_block = 4, rows = 2, columns = 32>} {
    %u0, %u1, %t0, %t1 = kern.program_id
    %y = scf.for %i = %u0 to %u1 step %t0 iter_args(%z = %x) -> (memref<?x64xf32>) {
      // expected-error@below {{expected only loads, stores, prefetches, kern.unpack and kern.dot on a kernel's buffers}}
      scf.yield %z : memref<?x64xf32>
    }
    return
  }
}

// -----

module attributes {kern.tier = "avx512vnni"} {
  func.func @host_op() attributes {kern.schedule = #kern.schedule<target = "avx512vnni", unit_block = 4, rows = 2, columns = 32>} {
    // expected-error@below {{expected only loads, stores, prefetches, kern.unpack and kern.dot on a kernel's buffers}}
    %x = kern.buffer rows : memref<?x64xf32>
    return
  }
}

// -----

// expected-error@below {{expected tier amx (with +bf16, +gfni), avx512vnni (with +bf16, +gfni), avxvnni or x86-64-v3, found 'x86-64-v3+gfni'}}
module attributes {kern.tier = "x86-64-v3+gfni"} {
}

// -----

module attributes {kern.tier = "avx512vnni+gfni"} {
  func.func @rounded(%w: memref<2x32x32x2xbf16>) attributes {kern.schedule = #kern.schedule<target = "avx512vnni+gfni", unit_block = 4, rows = 1, columns = 32>} {
    %count, %row, %panel, %column = kern.program_id
    %a = kern.scratch : memref<4x64xbf16>
    %c = kern.scratch : memref<1x32xf32>
    // expected-error@below {{expected a tier with +bf16 for activations in bf16, found 'avx512vnni+gfni'}}
    kern.dot %count of 1 rows (%a[%row]) by (%w[%panel]) into %c[%column] k 64 : (memref<4x64xbf16>) by (memref<2x32x32x2xbf16>) into memref<1x32xf32>
    return
  }
}

// -----

module attributes {kern.tier = "avx512vnni"} {
  func.func @k(%w: memref<2x16x32x4xi8>, %ws: memref<2x2x32xbf16>) attributes {kern.schedule = #kern.schedule<target = "avx512vnni", unit_block = 12, rows = 12, columns = 32, amx_rows = 5>} {
    %count, %row, %panel, %column = kern.program_id
    %a = kern.scratch : memref<24x64xi8>
    %as = kern.scratch : memref<24x2xf32>
    %ao = kern.scratch : memref<24x2xi32>
    %c = kern.scratch : memref<12x32xf32>
    %bytes = kern.scratch : memref<1x16x32x4xi8>
    // expected-error@below {{expected no unpacked codes: tier avx512vnni has no tiles}}
    kern.dot %count of 12 rows (%a, %as, %ao[%row]) by (%w, %ws[%panel]) into %c[%column] unpacked %bytes[%panel] k 64 coding <group = 32, scale = bf16> input_group 32
      : (memref<24x64xi8>, memref<24x2xf32>, memref<24x2xi32>) by (memref<2x16x32x4xi8>, memref<2x2x32xbf16>) into memref<12x32xf32> unpacked memref<1x16x32x4xi8>
    return
  }
}

// -----

module attributes {kern.tier = "amx"} {
  func.func @k(%w: memref<2x16x32x4xi8>, %ws: memref<2x2x32xbf16>) attributes {kern.schedule = #kern.schedule<target = "amx", unit_block = 12, rows = 12, columns = 32>} {
    %count, %row, %panel, %column = kern.program_id
    %a = kern.scratch : memref<24x64xi8>
    %as = kern.scratch : memref<24x2xf32>
    %ao = kern.scratch : memref<24x2xi32>
    %c = kern.scratch : memref<12x32xf32>
    %bytes = kern.scratch : memref<1x16x32x4xi8>
    // expected-error@below {{expected a schedule whose amx_rows are from 1 to the product's 12 rows, found #kern.schedule<target = "amx", unit_block = 12, rows = 12, columns = 32>}}
    kern.dot %count of 12 rows (%a, %as, %ao[%row]) by (%w, %ws[%panel]) into %c[%column] unpacked %bytes[%panel] k 64 coding <group = 32, scale = bf16> input_group 32
      : (memref<24x64xi8>, memref<24x2xf32>, memref<24x2xi32>) by (memref<2x16x32x4xi8>, memref<2x2x32xbf16>) into memref<12x32xf32> unpacked memref<1x16x32x4xi8>
    return
  }
}

// -----

module attributes {kern.tier = "amx"} {
  func.func @k(%w: memref<2x16x32x4xi8>, %ws: memref<2x2x32xbf16>) attributes {kern.schedule = #kern.schedule<target = "amx", unit_block = 12, rows = 4, columns = 32, amx_rows = 5>} {
    %count, %row, %panel, %column = kern.program_id
    %a = kern.scratch : memref<24x64xi8>
    %as = kern.scratch : memref<24x2xf32>
    %ao = kern.scratch : memref<24x2xi32>
    %c = kern.scratch : memref<12x32xf32>
    %bytes = kern.scratch : memref<1x16x32x4xi8>
    // expected-error@below {{expected a schedule whose amx_rows are from 1 to the product's 4 rows, found}}
    kern.dot %count of 4 rows (%a, %as, %ao[%row]) by (%w, %ws[%panel]) into %c[%column] unpacked %bytes[%panel] k 64 coding <group = 32, scale = bf16> input_group 32
      : (memref<24x64xi8>, memref<24x2xf32>, memref<24x2xi32>) by (memref<2x16x32x4xi8>, memref<2x2x32xbf16>) into memref<12x32xf32> unpacked memref<1x16x32x4xi8>
    return
  }
}

// -----

module attributes {kern.tier = "amx"} {
  func.func @k(%w: memref<2x16x32x4xi8>, %ws: memref<2x2x32xbf16>) attributes {kern.schedule = #kern.schedule<target = "amx", unit_block = 12, rows = 12, columns = 32, amx_rows = 5>} {
    %count, %row, %panel, %column = kern.program_id
    %a = kern.scratch : memref<24x64xi8>
    %as = kern.scratch : memref<24x2xf32>
    %ao = kern.scratch : memref<24x2xi32>
    %c = kern.scratch : memref<12x32xf32>
    %bytes = kern.scratch : memref<1x16x32x4xi8>
    kern.dot %count of 12 rows (%a, %as, %ao[%row]) by (%w, %ws[%panel]) into %c[%column] unpacked %bytes[%panel] k 64 coding <group = 32, scale = bf16> input_group 32
      : (memref<24x64xi8>, memref<24x2xf32>, memref<24x2xi32>) by (memref<2x16x32x4xi8>, memref<2x2x32xbf16>) into memref<12x32xf32> unpacked memref<1x16x32x4xi8>
    // expected-error@below {{expected all products of a kernel to have tiles of one shape}}
    kern.dot %count of 11 rows (%a, %as, %ao[%row]) by (%w, %ws[%panel]) into %c[%column] unpacked %bytes[%panel] k 64 coding <group = 32, scale = bf16> input_group 32
      : (memref<24x64xi8>, memref<24x2xf32>, memref<24x2xi32>) by (memref<2x16x32x4xi8>, memref<2x2x32xbf16>) into memref<12x32xf32> unpacked memref<1x16x32x4xi8>
    return
  }
}
