// Every message of the kern verifiers.
// RUN: lathe-opt %s --split-input-file --verify-diagnostics

//===--- attributes ---===//

// expected-error@below {{expected positive unit_block and rows, found 0 and 6}}
#schedule = #kern.schedule<target = "avx512vnni", unit_block = 0, rows = 6, columns = 32>

// -----

// expected-error@below {{expected positive unit_block and rows, found 48 and -1}}
#schedule = #kern.schedule<target = "avx512vnni", unit_block = 48, rows = -1, columns = 32>

// -----

// expected-error@below {{expected columns 16 or 32, found 64}}
#schedule = #kern.schedule<target = "avx512vnni", unit_block = 48, rows = 6, columns = 64>

// -----

// expected-error@below {{expected amx_rows from 0 to 16, and no more rows with them, found 17 and 6}}
#schedule = #kern.schedule<target = "amx", unit_block = 48, rows = 6, columns = 32, amx_rows = 17>

// -----

// expected-error@below {{expected amx_rows from 0 to 16, and no more rows with them, found 5 and 17}}
#schedule = #kern.schedule<target = "amx", unit_block = 51, rows = 17, columns = 32, amx_rows = 5>

// -----

// expected-error@below {{expected library "onednn" with library_rows from 2 to unit_block, or neither}}
#schedule = #kern.schedule<target = "avx512vnni", unit_block = 48, rows = 6, columns = 32, library = "mkl", library_rows = 16>

// -----

// expected-error@below {{expected library "onednn" with library_rows from 2 to unit_block, or neither}}
#schedule = #kern.schedule<target = "avx512vnni", unit_block = 48, rows = 6, columns = 32, library = "onednn", library_rows = 49>

// -----

// expected-error@below {{expected library "onednn" with library_rows from 2 to unit_block, or neither}}
#schedule = #kern.schedule<target = "avx512vnni", unit_block = 48, rows = 6, columns = 32, library_rows = 16>

// -----

// expected-error@below {{expected a positive dim, found 0}}
#pack = #kern.pack<order = heads, dim = 0>

// -----

//===--- scratch, reduce ---===//

func.func @scratch_dynamic() {
  // expected-error@below {{expected a static shape of whole bytes without layout, found 'memref<?x64xf32>'}}
  %s = "kern.scratch"() : () -> memref<?x64xf32>
  return
}

// -----

func.func @scratch_layout() {
  // expected-error@below {{expected a static shape of whole bytes without layout, found 'memref<6x64xf32, strided<[128, 1]>>'}}
  %s = kern.scratch : memref<6x64xf32, strided<[128, 1]>>
  return
}

// -----

func.func @scratch_index() {
  // expected-error@below {{expected a static shape of whole bytes without layout, found 'memref<6xindex>'}}
  %s = kern.scratch : memref<6xindex>
  return
}

// -----

func.func @scratch_bits() {
  // expected-error@below {{expected a static shape of whole bytes without layout, found 'memref<6xi4>'}}
  %s = kern.scratch : memref<6xi4>
  return
}

// -----

func.func @scratch_scalar() {
  // expected-error@below {{expected a static shape of whole bytes without layout, found 'memref<f32>'}}
  %s = kern.scratch : memref<f32>
  return
}

// -----

func.func @reduce_lanes(%v: vector<12xf32>) {
  // expected-error@below {{expected a vector of a power of two of lanes, found 'vector<12xf32>'}}
  %sum = kern.reduce add %v : vector<12xf32> -> f32
  return
}

// -----

func.func @reduce_rank(%v: vector<4x4xf32>) {
  // expected-error@below {{expected a vector of a power of two of lanes, found 'vector<4x4xf32>'}}
  %sum = kern.reduce add %v : vector<4x4xf32> -> f32
  return
}

// -----

func.func @reduce_scalable(%v: vector<[16]xf32>) {
  // expected-error@below {{expected a vector of a power of two of lanes, found 'vector<[16]xf32>'}}
  %sum = kern.reduce add %v : vector<[16]xf32> -> f32
  return
}

// -----

func.func @reduce_result(%v: vector<16xf32>) {
  // expected-error@below {{expected result type 'f32', found 'f64'}}
  %sum = kern.reduce add %v : vector<16xf32> -> f64
  return
}

// -----

//===--- unpack ---===//

func.func @unpack_k(%w: memref<2x16x32x4xi8>, %ws: memref<2x2x32xbf16>, %b: memref<1x16x32x4xi8>, %n: index) {
  // expected-error@below {{expected a positive k, found 0}}
  kern.unpack (%w, %ws[%n]) into %b[%n] k 0 coding <group = 32, scale = bf16> input_group 32 : (memref<2x16x32x4xi8>, memref<2x2x32xbf16>) into memref<1x16x32x4xi8>
  return
}

// -----

func.func @unpack_group(%w: memref<2x16x32x4xi8>, %ws: memref<2x2x32xbf16>, %b: memref<1x16x32x4xi8>, %n: index) {
  // expected-error@below {{expected an input group of a multiple of 16 that divides 32 or is divided by it, found 48}}
  kern.unpack (%w, %ws[%n]) into %b[%n] k 64 coding <group = 32, scale = bf16> input_group 48 : (memref<2x16x32x4xi8>, memref<2x2x32xbf16>) into memref<1x16x32x4xi8>
  return
}

// -----

func.func @unpack_arrays(%w: memref<2x16x32x4xi8>, %b: memref<1x16x32x4xi8>, %n: index) {
  // expected-error@below {{expected 2 weight arrays for #kern.coding<group = 32, scale = bf16>, found 1}}
  kern.unpack (%w[%n]) into %b[%n] k 64 coding <group = 32, scale = bf16> input_group 32 : (memref<2x16x32x4xi8>) into memref<1x16x32x4xi8>
  return
}

// -----

func.func @unpack_weight(%w: memref<2x15x32x4xi8>, %ws: memref<2x2x32xbf16>, %b: memref<1x16x32x4xi8>, %n: index) {
  // expected-error@below {{expected weight codes [?]x[16, 32, 4] of 'i8', found 'memref<2x15x32x4xi8>'}}
  kern.unpack (%w, %ws[%n]) into %b[%n] k 64 coding <group = 32, scale = bf16> input_group 32 : (memref<2x15x32x4xi8>, memref<2x2x32xbf16>) into memref<1x16x32x4xi8>
  return
}

// -----

func.func @unpack_bias(%w: memref<2x16x32x4xi8>, %ws: memref<2x2x32xbf16>, %b: memref<1x16x32x4xi8>, %n: index) {
  // expected-error@below {{expected codes that are signed bytes without their bias, found #kern.coding<group = 32, scale = bf16, bias = 0>}}
  kern.unpack (%w, %ws[%n]) into %b[%n] k 64 coding <group = 32, scale = bf16, bias = 0> input_group 32 : (memref<2x16x32x4xi8>, memref<2x2x32xbf16>) into memref<1x16x32x4xi8>
  return
}

// -----

func.func @unpack_into(%w: memref<2x18x32x4xi8>, %ws: memref<2x3x32xbf16>, %b: memref<1x18x32x4xi8>, %n: index) {
  // expected-error@below {{expected unpacked codes [?]x[24, 32, 4] of 'i8', found 'memref<1x18x32x4xi8>'}}
  kern.unpack (%w, %ws[%n]) into %b[%n] k 70 coding <group = 32, scale = bf16> input_group 32 : (memref<2x18x32x4xi8>, memref<2x3x32xbf16>) into memref<1x18x32x4xi8>
  return
}

// -----

func.func @dot_unpacked_rows(%a: memref<20x64xi8>, %as: memref<20x2xf32>, %ao: memref<20x2xi32>, %w: memref<2x16x32x4xi8>, %ws: memref<2x2x32xbf16>, %b: memref<1x16x32x4xi8>,
                             %c: memref<17x32xf32>, %n: index) {
  // expected-error@below {{expected at most 16 rows with unpacked codes, found 17}}
  kern.dot %n of 17 rows (%a, %as, %ao[%n]) by (%w, %ws[%n]) into %c[%n] unpacked %b[%n] k 64 coding <group = 32, scale = bf16> input_group 32
    : (memref<20x64xi8>, memref<20x2xf32>, memref<20x2xi32>) by (memref<2x16x32x4xi8>, memref<2x2x32xbf16>) into memref<17x32xf32> unpacked memref<1x16x32x4xi8>
  return
}

// -----

func.func @dot_unpacked_floats(%a: memref<?x64xf32>, %w: memref<2x64x32xf32>, %b: memref<1x16x32x4xi8>, %c: memref<6x32xf32>, %n: index) {
  // expected-error@below {{expected a coding with unpacked codes}}
  kern.dot %n of 6 rows (%a[%n]) by (%w[%n]) into %c[%n] unpacked %b[%n] k 64 : (memref<?x64xf32>) by (memref<2x64x32xf32>) into memref<6x32xf32> unpacked memref<1x16x32x4xi8>
  return
}

// -----

//===--- dot ---===//

func.func @dot_library(%a: memref<?x64xf32>, %w: memref<2x64x32xf32>, %c: memref<6x32xf32>, %n: index) {
  // expected-error@below {{expected library "onednn", found "mkl"}}
  kern.dot %n of 6 rows library "mkl" (%a[%n]) by (%w[%n]) into %c[%n] k 64 : (memref<?x64xf32>) by (memref<2x64x32xf32>) into memref<6x32xf32>
  return
}

// -----

func.func @dot_library_rows(%a: memref<?x64xf32>, %w: memref<2x64x32xf32>, %c: memref<6x32xf32>, %n: index) {
  // expected-error@below {{expected a positive k and 1 to 4096 rows, found 64 and 4097}}
  kern.dot %n of 4097 rows library "onednn" (%a[%n]) by (%w[%n]) into %c[%n] k 64 : (memref<?x64xf32>) by (memref<2x64x32xf32>) into memref<6x32xf32>
  return
}

// -----

func.func @dot_library_bias(%a: memref<?x64xi8>, %s: memref<?x2xf32>, %o: memref<?x2xi32>, %w: memref<2x16x32x4xi8>, %ws: memref<2x2x32xf32>, %c: memref<6x32xf32>, %n: index) {
  // expected-error@below {{expected codes of 8 bits with bias 128 for a library, found #kern.coding<group = 32, scale = f32, bias = 0>}}
  kern.dot %n of 6 rows library "onednn" (%a, %s, %o[%n]) by (%w, %ws[%n]) into %c[%n] k 64 coding <group = 32, scale = f32, bias = 0> input_group 32
    : (memref<?x64xi8>, memref<?x2xf32>, memref<?x2xi32>) by (memref<2x16x32x4xi8>, memref<2x2x32xf32>) into memref<6x32xf32>
  return
}

// -----

func.func @dot_k(%a: memref<?x64xf32>, %w: memref<2x64x32xf32>, %c: memref<6x32xf32>, %n: index) {
  // expected-error@below {{expected a positive k and 1 to 64 rows, found 0 and 6}}
  kern.dot %n of 6 rows (%a[%n]) by (%w[%n]) into %c[%n] k 0 : (memref<?x64xf32>) by (memref<2x64x32xf32>) into memref<6x32xf32>
  return
}

// -----

func.func @dot_no_rows(%a: memref<?x64xf32>, %w: memref<2x64x32xf32>, %c: memref<6x32xf32>, %n: index) {
  // expected-error@below {{expected a positive k and 1 to 64 rows, found 64 and 0}}
  kern.dot %n of 0 rows (%a[%n]) by (%w[%n]) into %c[%n] k 64 : (memref<?x64xf32>) by (memref<2x64x32xf32>) into memref<6x32xf32>
  return
}

// -----

func.func @dot_many_rows(%a: memref<?x64xf32>, %w: memref<2x64x32xf32>, %c: memref<100x32xf32>, %n: index) {
  // expected-error@below {{expected a positive k and 1 to 64 rows, found 64 and 100}}
  kern.dot %n of 100 rows (%a[%n]) by (%w[%n]) into %c[%n] k 64 : (memref<?x64xf32>) by (memref<2x64x32xf32>) into memref<100x32xf32>
  return
}

// -----

func.func @dot_into_rows(%a: memref<?x64xf32>, %w: memref<2x64x32xf32>, %c: memref<5x32xf32>, %n: index) {
  // expected-error@below {{expected a result of at least 6 rows of whole panels in f32, found 'memref<5x32xf32>'}}
  kern.dot %n of 6 rows (%a[%n]) by (%w[%n]) into %c[%n] k 64 : (memref<?x64xf32>) by (memref<2x64x32xf32>) into memref<5x32xf32>
  return
}

// -----

func.func @dot_into_columns(%a: memref<?x64xf32>, %w: memref<2x64x32xf32>, %c: memref<6x24xf32>, %n: index) {
  // expected-error@below {{expected a result of at least 6 rows of whole panels in f32, found 'memref<6x24xf32>'}}
  kern.dot %n of 6 rows (%a[%n]) by (%w[%n]) into %c[%n] k 64 : (memref<?x64xf32>) by (memref<2x64x32xf32>) into memref<6x24xf32>
  return
}

// -----

func.func @dot_into_element(%a: memref<?x64xf32>, %w: memref<2x64x32xf32>, %c: memref<6x32xbf16>, %n: index) {
  // expected-error@below {{expected a result of at least 6 rows of whole panels in f32, found 'memref<6x32xbf16>'}}
  kern.dot %n of 6 rows (%a[%n]) by (%w[%n]) into %c[%n] k 64 : (memref<?x64xf32>) by (memref<2x64x32xf32>) into memref<6x32xbf16>
  return
}

// -----

func.func @dot_arrays(%a: memref<?x64xf32>, %w: memref<2x64x32xf32>, %ws: memref<2x1x32xbf16>, %c: memref<6x32xf32>, %n: index) {
  // expected-error@below {{expected one input and one weight array without a coding}}
  kern.dot %n of 6 rows (%a[%n]) by (%w, %ws[%n]) into %c[%n] k 64 : (memref<?x64xf32>) by (memref<2x64x32xf32>, memref<2x1x32xbf16>) into memref<6x32xf32>
  return
}

// -----

func.func @dot_input_width(%a: memref<?x63xf32>, %w: memref<2x64x32xf32>, %c: memref<6x32xf32>, %n: index) {
  // expected-error@below {{expected an input of at least 64 columns of f32, found 'memref<?x63xf32>'}}
  kern.dot %n of 6 rows (%a[%n]) by (%w[%n]) into %c[%n] k 64 : (memref<?x63xf32>) by (memref<2x64x32xf32>) into memref<6x32xf32>
  return
}

// -----

func.func @dot_input_element(%a: memref<?x64xi8>, %w: memref<2x64x32xf32>, %c: memref<6x32xf32>, %n: index) {
  // expected-error@below {{expected an input of at least 64 columns of f32, found 'memref<?x64xi8>'}}
  kern.dot %n of 6 rows (%a[%n]) by (%w[%n]) into %c[%n] k 64 : (memref<?x64xi8>) by (memref<2x64x32xf32>) into memref<6x32xf32>
  return
}

// -----

func.func @dot_weight(%a: memref<?x64xf32>, %w: memref<2x64x16xf32>, %c: memref<6x32xf32>, %n: index) {
  // expected-error@below {{expected a weight [?]x[64, 32] of 'f32', found 'memref<2x64x16xf32>'}}
  kern.dot %n of 6 rows (%a[%n]) by (%w[%n]) into %c[%n] k 64 : (memref<?x64xf32>) by (memref<2x64x16xf32>) into memref<6x32xf32>
  return
}

// -----

func.func @dot_weight_rank(%a: memref<?x64xf32>, %w: memref<f32>, %c: memref<6x32xf32>, %n: index) {
  // expected-error@below {{expected a weight [?]x[64, 32] of 'f32', found 'memref<f32>'}}
  kern.dot %n of 6 rows (%a[%n]) by (%w[%n]) into %c[%n] k 64 : (memref<?x64xf32>) by (memref<f32>) into memref<6x32xf32>
  return
}

// -----

func.func @dot_group(%a: memref<?x64xf32>, %w: memref<2x64x32xf32>, %c: memref<6x32xf32>, %n: index) {
  // expected-error@below {{expected a group of a positive multiple of 16, found 6}}
  kern.dot %n of 6 rows (%a[%n]) by (%w[%n]) into %c[%n] k 64 coding <group = 6, scale = bf16> input_group 6 : (memref<?x64xf32>) by (memref<2x64x32xf32>) into memref<6x32xf32>
  return
}

// -----

func.func @dot_group_arrays(%a: memref<?x64xf32>, %w: memref<2x64x32xf32>, %c: memref<6x32xf32>, %n: index) {
  // expected-error@below {{expected 3 input and 2 weight arrays for #kern.coding<group = 64, scale = bf16>, found 1 and 1}}
  kern.dot %n of 6 rows (%a[%n]) by (%w[%n]) into %c[%n] k 64 coding <group = 64, scale = bf16> input_group 64 : (memref<?x64xf32>) by (memref<2x64x32xf32>) into memref<6x32xf32>
  return
}

// -----

// Codes are padded to the 16 of a vector.
func.func @dot_input_codes(%a: memref<48x72xi8>, %as: memref<48x2xf32>, %ao: memref<48x2xi32>, %w: memref<2x18x32x4xi8>, %ws: memref<2x2x32xbf16>, %c: memref<6x32xf32>, %n: index) {
  // expected-error@below {{expected input codes [?]x[80] of 'i8', found 'memref<48x72xi8>'}}
  kern.dot %n of 6 rows (%a, %as, %ao[%n]) by (%w, %ws[%n]) into %c[%n] k 70 coding <group = 64, scale = bf16> input_group 64
    : (memref<48x72xi8>, memref<48x2xf32>, memref<48x2xi32>) by (memref<2x18x32x4xi8>, memref<2x2x32xbf16>) into memref<6x32xf32>
  return
}

// -----

func.func @dot_input_scales(%a: memref<48x80xi8>, %as: memref<48x1xf32>, %ao: memref<48x2xi32>, %w: memref<2x18x32x4xi8>, %ws: memref<2x2x32xbf16>, %c: memref<6x32xf32>, %n: index) {
  // expected-error@below {{expected input scales [?]x[2] of 'f32', found 'memref<48x1xf32>'}}
  kern.dot %n of 6 rows (%a, %as, %ao[%n]) by (%w, %ws[%n]) into %c[%n] k 70 coding <group = 64, scale = bf16> input_group 64
    : (memref<48x80xi8>, memref<48x1xf32>, memref<48x2xi32>) by (memref<2x18x32x4xi8>, memref<2x2x32xbf16>) into memref<6x32xf32>
  return
}

// -----

func.func @dot_input_offsets(%a: memref<48x80xi8>, %as: memref<48x2xf32>, %ao: memref<48x2xf32>, %w: memref<2x18x32x4xi8>, %ws: memref<2x2x32xbf16>, %c: memref<6x32xf32>, %n: index) {
  // expected-error@below {{expected input offsets [?]x[2] of 'i32', found 'memref<48x2xf32>'}}
  kern.dot %n of 6 rows (%a, %as, %ao[%n]) by (%w, %ws[%n]) into %c[%n] k 70 coding <group = 64, scale = bf16> input_group 64
    : (memref<48x80xi8>, memref<48x2xf32>, memref<48x2xf32>) by (memref<2x18x32x4xi8>, memref<2x2x32xbf16>) into memref<6x32xf32>
  return
}

// -----

func.func @dot_weight_codes(%a: memref<48x80xi8>, %as: memref<48x2xf32>, %ao: memref<48x2xi32>, %w: memref<2x20x32x4xi8>, %ws: memref<2x2x32xbf16>, %c: memref<6x32xf32>, %n: index) {
  // expected-error@below {{expected weight codes [?]x[18, 32, 4] of 'i8', found 'memref<2x20x32x4xi8>'}}
  kern.dot %n of 6 rows (%a, %as, %ao[%n]) by (%w, %ws[%n]) into %c[%n] k 70 coding <group = 64, scale = bf16> input_group 64
    : (memref<48x80xi8>, memref<48x2xf32>, memref<48x2xi32>) by (memref<2x20x32x4xi8>, memref<2x2x32xbf16>) into memref<6x32xf32>
  return
}

// -----

func.func @dot_weight_scales(%a: memref<48x80xi8>, %as: memref<48x2xf32>, %ao: memref<48x2xi32>, %w: memref<2x18x32x4xi8>, %ws: memref<2x2x32xf32>, %c: memref<6x32xf32>, %n: index) {
  // expected-error@below {{expected weight scales [?]x[2, 32] of 'bf16', found 'memref<2x2x32xf32>'}}
  kern.dot %n of 6 rows (%a, %as, %ao[%n]) by (%w, %ws[%n]) into %c[%n] k 70 coding <group = 64, scale = bf16> input_group 64
    : (memref<48x80xi8>, memref<48x2xf32>, memref<48x2xi32>) by (memref<2x18x32x4xi8>, memref<2x2x32xf32>) into memref<6x32xf32>
  return
}

// -----

// Groups of the input and of the weight: one divides the other.
func.func @dot_input_group(%a: memref<48x96xi8>, %as: memref<48x2xf32>, %ao: memref<48x3xi32>, %w: memref<2x24x32x4xi8>, %ws: memref<2x3x32xbf16>, %c: memref<6x32xf32>, %n: index) {
  // expected-error@below {{expected an input group of a multiple of 16 that divides 32 or is divided by it, found 48}}
  kern.dot %n of 6 rows (%a, %as, %ao[%n]) by (%w, %ws[%n]) into %c[%n] k 96 coding <group = 32, scale = bf16> input_group 48
    : (memref<48x96xi8>, memref<48x2xf32>, memref<48x3xi32>) by (memref<2x24x32x4xi8>, memref<2x3x32xbf16>) into memref<6x32xf32>
  return
}

// -----

// With minima the sums of the activations come fourth.
func.func @dot_input_sums(%a: memref<48x64xi8>, %as: memref<48x2xf32>, %ao: memref<48x2xi32>, %s: memref<48x1xf32>, %w: memref<2x8x32x4xi8>, %ws: memref<2x2x32xf16>, %c: memref<6x32xf32>, %n: index) {
  // expected-error@below {{expected input sums [?]x[2] of 'f32', found 'memref<48x1xf32>'}}
  kern.dot %n of 6 rows (%a, %as, %ao, %s[%n]) by (%w, %ws, %ws[%n]) into %c[%n] k 64 coding <bits = 4, group = 32, scale = f16, bias = 0, minimum = true> input_group 32
    : (memref<48x64xi8>, memref<48x2xf32>, memref<48x2xi32>, memref<48x1xf32>) by (memref<2x8x32x4xi8>, memref<2x2x32xf16>, memref<2x2x32xf16>) into memref<6x32xf32>
  return
}

// -----

//===--- coding ---===//

// expected-error@below {{expected 4, 6 or 8 bits, found 5}}
func.func private @coding_bits() attributes {coding = #kern.coding<bits = 5, group = 32, scale = f16>}

// -----

// expected-error@below {{expected scale f32, bf16 or f16, found 'i8'}}
func.func private @coding_scale() attributes {coding = #kern.coding<group = 32, scale = i8>}

// -----

// expected-error@below {{expected a bias from 0 to 128 and a super of whole groups, found 0 and 40}}
func.func private @coding_super() attributes {coding = #kern.coding<bits = 4, group = 32, scale = f16, bias = 0, super = 40>}

// -----

//===--- weight ---===//

func.func @weight_part() {
  // expected-error@below {{expected a part that #kern.coding<group = 32, scale = bf16> has, found minima}}
  %w = kern.weight minima ["w"] pack <order = flat, dim = 1> coding <group = 32, scale = bf16> k 64 : memref<2x2x32xbf16>
  return
}

// -----

func.func @weight_k() {
  // expected-error@below {{expected a positive k, found 0}}
  %w = kern.weight codes ["w"] pack <order = flat, dim = 1> coding <group = 64, scale = bf16> k 0 : memref<2x16x32x4xi8>
  return
}

// -----

func.func @weight_group() {
  // expected-error@below {{expected a group of a positive multiple of 16, found 30}}
  %w = kern.weight codes ["w"] pack <order = flat, dim = 1> coding <group = 30, scale = bf16> k 64 : memref<2x16x32x4xi8>
  return
}

// -----

func.func @weight_without_group() {
  // expected-error@below {{expected sources, with a pack for a matrix and a coding for codes and scales, or a rope alone}}
  %w = kern.weight codes ["w"] pack <order = flat, dim = 1> k 64 : memref<2x16x32x4xi8>
  return
}

// -----

func.func @weight_without_pack() {
  // expected-error@below {{expected sources, with a pack for a matrix and a coding for codes and scales, or a rope alone}}
  %w = kern.weight values ["w"] k 64 : memref<2x64x32xf32>
  return
}

// -----

func.func @weight_without_sources() {
  // expected-error@below {{expected sources, with a pack for a matrix and a coding for codes and scales, or a rope alone}}
  %w = kern.weight vector [] k 1 : memref<64xf32>
  return
}

// -----

func.func @weight_rope() {
  // expected-error@below {{expected sources, with a pack for a matrix and a coding for codes and scales, or a rope alone}}
  %w = kern.weight rope_low [] rope "half" k 64 : memref<2x256x32xf32>
  return
}

// -----

func.func @weight_values() {
  // expected-error@below {{expected values of shape [2, 64, 32] in 'f32', found 'memref<2x64x64xf32>'}}
  %w = kern.weight values ["w"] pack <order = flat, dim = 1> k 64 : memref<2x64x64xf32>
  return
}

// -----

func.func @weight_codes() {
  // expected-error@below {{expected codes of shape [2, 18, 32, 4] in 'i8', found 'memref<2x18x32x8xi8>'}}
  %w = kern.weight codes ["w"] pack <order = flat, dim = 1> coding <group = 64, scale = bf16> k 70 : memref<2x18x32x8xi8>
  return
}

// -----

func.func @weight_scales() {
  // expected-error@below {{expected scales of shape [2, 2, 32] in 'bf16', found 'memref<2x2x32xf32>'}}
  %w = kern.weight scales ["w"] pack <order = flat, dim = 1> coding <group = 64, scale = bf16> k 70 : memref<2x2x32xf32>
  return
}

// -----

func.func @weight_vector() {
  // expected-error@below {{expected vector of shape [64] in 'f32', found 'memref<64x1xf32>'}}
  %w = kern.weight vector ["w"] k 1 : memref<64x1xf32>
  return
}

// -----

func.func @weight_dynamic() {
  // expected-error@below {{expected vector of shape}}
  %w = kern.weight vector ["w"] k 1 : memref<?xf32>
  return
}

// -----

#rope = #lm.rope<layout = half, theta = 1.0e4, type = "default", params = {}>
func.func @weight_rope_low() {
  // expected-error@below {{expected rope_low of shape [2, 256, 32] in 'f32', found 'memref<2x16x32xf32>'}}
  %w = kern.weight rope_low [] rope #rope k 64 : memref<2x16x32xf32>
  return
}

// -----

#rope = #lm.rope<layout = half, theta = 1.0e4, type = "default", params = {}>
func.func @weight_rope_high() {
  // expected-error@below {{expected rope_high of shape [2, 16, 16] in 'f32', found 'memref<2x16x12xf32>'}}
  %w = kern.weight rope_high [] rope #rope k 24 : memref<2x16x12xf32>
  return
}

// -----

//===--- buffer, kv, launch ---===//

func.func @buffer_static() {
  // expected-error@below {{expected rows [?, width] of f32, found 'memref<8x64xf32>'}}
  %x = kern.buffer rows : memref<8x64xf32>
  return
}

// -----

func.func @buffer_rank() {
  // expected-error@below {{expected rows [?, width] of f32, found 'memref<?xf32>'}}
  %x = kern.buffer rows : memref<?xf32>
  return
}

// -----

func.func @buffer_element() {
  // expected-error@below {{expected rows [?, width] of f32, found 'memref<?x64xbf16>'}}
  %x = kern.buffer rows : memref<?x64xbf16>
  return
}

// -----

func.func @buffer_slot() {
  // expected-error@below {{expected a slot from 0 to 65535, or none for the logits, found -1}}
  %x = kern.buffer rows slot -1 : memref<?x64xf32>
  return
}

// -----

func.func @buffer_logits() {
  // expected-error@below {{expected a slot from 0 to 65535, or none for the logits, found 2}}
  %x = kern.buffer logit_rows slot 2 logits : memref<?x64xf32>
  return
}

// -----

func.func @kv_layer() {
  // expected-error@below {{expected a layer from 0 to 65535, found -1}}
  %k = kern.kv -1 keys : memref<?x3x64x32xf32>
  return
}

// -----

func.func @kv_rank() {
  // expected-error@below {{expected pages [?, head, dim, position] or [?, head, position, dim] of f32 or bf16, found 'memref<?x64x32xf32>'}}
  %k = kern.kv 0 keys : memref<?x64x32xf32>
  return
}

// -----

func.func @kv_layout() {
  // expected-error@below {{expected pages of any number, found 'memref<7x3x64x32xf32>'}}
  %k = kern.kv 0 keys : memref<7x3x64x32xf32>
  return
}

// -----

func.func @kv_bytes() {
  // expected-error@below {{expected pages of i8 [?, head, dim/4 + 2, position, 4] or [?, head, position/4, dim, 4], for a GPU [?, head, dim + 8, position] or [?, head, dim, position], found 'memref<?x3x8x32xi8>'}}
  %v = kern.kv 0 keys : memref<?x3x8x32xi8>
  return
}

// -----

func.func @kv_quads() {
  // expected-error@below {{expected pages of i8 [?, head, dim/4 + 2, position, 4] or [?, head, position/4, dim, 4], for a GPU [?, head, dim + 8, position] or [?, head, dim, position], found 'memref<?x3x18x32x8xi8>'}}
  %k = kern.kv 0 keys : memref<?x3x18x32x8xi8>
  return
}

// -----

func.func @kv_only_scales() {
  // expected-error@below {{expected pages of i8 [?, head, dim/4 + 2, position, 4] or [?, head, position/4, dim, 4], for a GPU [?, head, dim + 8, position] or [?, head, dim, position], found 'memref<?x3x2x32x4xi8>'}}
  %k = kern.kv 0 keys : memref<?x3x2x32x4xi8>
  return
}

// -----

func.func @kv_element() {
  // expected-error@below {{expected pages [?, head, dim, position] or [?, head, position, dim] of f32 or bf16, found 'memref<?x3x64x32xf16>'}}
  %k = kern.kv 0 : memref<?x3x64x32xf16>
  return
}

// -----

func.func @step(%x: memref<?x64xf32>) {
  // expected-error@below {{expected a kernel 'nowhere' in each tier, found none in 'avx512vnni'}}
  kern.launch @nowhere(%x) : memref<?x64xf32>
  return
}
module @avx512vnni {}

// -----

func.func @step(%x: memref<?x64xf32>) {
  // expected-error@below {{expected a kernel 'k' with kern.schedule, kern.unit, kern.tiles, kern.tile_bytes, kern.unit_flops and kern.fused}}
  kern.launch @k(%x) : memref<?x64xf32>
  return
}
module @avx512vnni {
  func.func @k(%x: memref<?x64xf32>) attributes {kern.tiles = 4} {
    return
  }
}

// -----

func.func @step(%x: memref<?x64xf32>) {
  // expected-error@below {{expected operands ('memref<?x96xf32>'), found ('memref<?x64xf32>')}}
  kern.launch @k(%x) : memref<?x64xf32>
  return
}
module @avx512vnni {
  // expected-note@below {{the kernel in 'avx512vnni'}}
  func.func @k(%x: memref<?x96xf32>)
      attributes {kern.schedule = #kern.schedule<target = "avx512vnni", unit_block = 48, rows = 6, columns = 32>, kern.unit = #kern<unit rows>,
                  kern.tiles = 4, kern.tile_bytes = 0, kern.unit_flops = 0, kern.fused = ""} {
    return
  }
}

// -----

// bf16 stands in pairs along k.
func.func @dot_bf16(%a: memref<?x64xf32>, %w: memref<2x63x32xbf16>, %c: memref<6x32xf32>, %n: index) {
  // expected-error@below {{expected a weight [?]x[32, 32, 2] of 'bf16', found 'memref<2x63x32xbf16>'}}
  kern.dot %n of 6 rows (%a[%n]) by (%w[%n]) into %c[%n] k 63 : (memref<?x64xf32>) by (memref<2x63x32xbf16>) into memref<6x32xf32>
  return
}

// -----

func.func @weight_f16() {
  // expected-error@below {{expected values of shape [2, 63, 32] in 'f16', found 'memref<2x32x32x2xf16>'}}
  %w = kern.weight values ["w"] pack <order = flat, dim = 1> k 63 : memref<2x32x32x2xf16>
  return
}

// -----

func.func @prefetch_codes(%w: memref<2x63x32xbf16>, %p: index) {
  // expected-error@below {{expected a weight [panels][blocks][8][elements], found 'memref<2x63x32xbf16>'}}
  kern.prefetch %w[%p] columns 32 : memref<2x63x32xbf16>
  return
}

// -----

func.func @prefetch_columns(%w: memref<4x2x8x32xbf16>, %p: index) {
  // expected-error@below {{expected whole panels of 8 columns, at most 32, found 40}}
  kern.prefetch %w[%p] columns 40 : memref<4x2x8x32xbf16>
  return
}

// -----

func.func @dot_both_bf16(%a: memref<?x63xbf16>, %w: memref<2x32x32x2xbf16>, %c: memref<6x32xf32>, %n: index) {
  // expected-error@below {{expected an input [?]x[64] of 'bf16', found 'memref<?x63xbf16>'}}
  kern.dot %n of 6 rows (%a[%n]) by (%w[%n]) into %c[%n] k 63 : (memref<?x63xbf16>) by (memref<2x32x32x2xbf16>) into memref<6x32xf32>
  return
}

// -----

func.func @dot_bf16_input(%a: memref<?x64xbf16>, %w: memref<2x63x32xf32>, %c: memref<6x32xf32>, %n: index) {
  // expected-error@below {{expected a weight [?]x[32, 32, 2] of 'bf16', found 'memref<2x63x32xf32>'}}
  kern.dot %n of 6 rows (%a[%n]) by (%w[%n]) into %c[%n] k 63 : (memref<?x64xbf16>) by (memref<2x63x32xf32>) into memref<6x32xf32>
  return
}
