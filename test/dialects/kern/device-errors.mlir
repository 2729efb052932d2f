// What a block of a GPU cannot multiply.
// RUN: lathe-opt %s --split-input-file --verify-diagnostics

func.func @unpacked(%n: index, %x: memref<8x160xbf16>, %w: memref<8x160x32xbf16>, %tile: memref<8x32xf32>) {
  // expected-error@below {{expected a weight [panels][blocks][8][64 bytes], found 'memref<8x160x32xbf16>'}}
  kern.block_dot %n rows (%x) by (%w[%n]) into %tile : memref<8x160xbf16> by memref<8x160x32xbf16> into memref<8x32xf32>
  return
}

// -----

func.func @arrays(%n: index, %x: memref<8x160xbf16>, %w: memref<8x2x8x64xi8>, %tile: memref<8x32xf32>) {
  // expected-error@below {{expected a weight, or codes and scales, found 3 arrays}}
  kern.block_dot %n rows (%x) by (%w, %w, %w[%n]) into %tile : memref<8x160xbf16> by memref<8x2x8x64xi8>, memref<8x2x8x64xi8>, memref<8x2x8x64xi8> into memref<8x32xf32>
  return
}

// -----

func.func @codes_alone(%n: index, %x: memref<8x160xbf16>, %w: memref<8x2x8x64xi8>, %tile: memref<8x32xf32>) {
  // expected-error@below {{expected a weight of f32 or bf16, or codes of i8 with scales, found 'i8'}}
  kern.block_dot %n rows (%x) by (%w[%n]) into %tile : memref<8x160xbf16> by memref<8x2x8x64xi8> into memref<8x32xf32>
  return
}

// -----

func.func @scales(%n: index, %x: memref<8x160xbf16>, %w: memref<8x2x8x64xi8>, %s: memref<8x3x8xbf16>, %tile: memref<8x32xf32>) {
  // expected-error@below {{expected scales [8][2 or 4][8] of floats, found 'memref<8x3x8xbf16>'}}
  kern.block_dot %n rows (%x) by (%w, %s[%n]) into %tile : memref<8x160xbf16> by memref<8x2x8x64xi8>, memref<8x3x8xbf16> into memref<8x32xf32>
  return
}

// -----

func.func @short_rows(%n: index, %x: memref<8x96xbf16>, %w: memref<8x2x8x64xi8>, %s: memref<8x4x8xbf16>, %tile: memref<8x32xf32>) {
  // expected-error@below {{expected input rows of at least 128 columns of 'bf16', found 'memref<8x96xbf16>'}}
  kern.block_dot %n rows (%x) by (%w, %s[%n]) into %tile : memref<8x96xbf16> by memref<8x2x8x64xi8>, memref<8x4x8xbf16> into memref<8x32xf32>
  return
}

// -----

func.func @global_rows(%n: index, %x: memref<?x160xf32>, %w: memref<8x2x8x64xi8>, %s: memref<8x4x8xbf16>, %tile: memref<8x32xf32>) {
  // expected-error@below {{expected activations of 2 blocks of 64 columns in f32, found 'memref<?x160xf32>'}}
  kern.block_dot %n rows (%x from %n) by (%w, %s[%n]) into %tile : memref<?x160xf32> by memref<8x2x8x64xi8>, memref<8x4x8xbf16> into memref<8x32xf32>
  return
}

// -----

func.func @result(%n: index, %x: memref<8x160xbf16>, %w: memref<8x5x8x32xbf16>, %tile: memref<6x32xf32>) {
  // expected-error@below {{expected a result of a multiple of 8 rows and of 16 columns in f32, found 'memref<6x32xf32>'}}
  kern.block_dot %n rows (%x) by (%w[%n]) into %tile : memref<8x160xbf16> by memref<8x5x8x32xbf16> into memref<6x32xf32>
  return
}

// -----

func.func @load(%i: index, %w: memref<8x5x8x32xbf16>) {
  // expected-error@below {{expected codes [panels][blocks][8][64] of i8, found 'memref<8x5x8x32xbf16>'}}
  %some = kern.load_codes %w[%i, %i, %i, %i] : memref<8x5x8x32xbf16> -> vector<16xf32>
  return
}

// -----

func.func @lanes(%i: index, %w: memref<8x2x8x64xi8>) {
  // expected-error@below {{expected 16 lanes of f32, found 'vector<16xi8>'}}
  %some = kern.load_codes %w[%i, %i, %i, %i] : memref<8x2x8x64xi8> -> vector<16xi8>
  return
}

// -----

func.func @weight() {
  // expected-error@below {{expected scales of shape [8, 4, 8] in 'bf16', found 'memref<8x2x8xbf16>'}}
  %scales = kern.weight scales ["q"] pack <order = flat, dim = 1> coding <group = 32, scale = bf16> k 70 : memref<8x2x8xbf16>
  return
}

// -----

func.func @no_scales(%i: index, %q: memref<8x96xbf16>, %keys: memref<?x2x72x32xi8>, %scores: memref<8x260xf32>) {
  // expected-error@below {{expected scales 'memref<256xf32>' for keys of i8, and for no others}}
  kern.block_scores %i rows (%q) by %keys of %i, %i chunk %i pages %i to %i into %scores : memref<8x96xbf16> by memref<?x2x72x32xi8> into memref<8x260xf32>
  return
}

// -----

func.func @float_scales(%i: index, %q: memref<8x96xbf16>, %keys: memref<?x2x32x64xbf16>, %scores: memref<8x260xf32>, %scales: memref<256xf32>) {
  // expected-error@below {{expected scales 'memref<256xf32>' for keys of i8, and for no others}}
  kern.block_scores %i rows (%q) by %keys of %i, %i chunk %i pages %i to %i into %scores scales %scales : memref<8x96xbf16> by memref<?x2x32x64xbf16> into memref<8x260xf32> scales memref<256xf32>
  return
}

// -----

func.func @code_queries(%i: index, %q: memref<8x96xf32>, %keys: memref<?x2x72x32xi8>, %scores: memref<8x260xf32>, %scales: memref<256xf32>) {
  // expected-error@below {{expected queries of at least 64 columns of 'bf16', found 'memref<8x96xf32>'}}
  kern.block_scores %i rows (%q) by %keys of %i, %i chunk %i pages %i to %i into %scores scales %scales : memref<8x96xf32> by memref<?x2x72x32xi8> into memref<8x260xf32> scales memref<256xf32>
  return
}

// -----

func.func @only_scales(%i: index, %q: memref<8x96xbf16>, %keys: memref<?x2x8x32xi8>, %scores: memref<8x260xf32>, %scales: memref<256xf32>) {
  // expected-error@below {{expected keys [?, head, position, dim] of f32 or bf16, or [?, head, dim + 8, position] of i8, found 'memref<?x2x8x32xi8>'}}
  kern.block_scores %i rows (%q) by %keys of %i, %i chunk %i pages %i to %i into %scores scales %scales : memref<8x96xbf16> by memref<?x2x8x32xi8> into memref<8x260xf32> scales memref<256xf32>
  return
}

// -----

func.func @half_values(%i: index, %scores: memref<8x260xf32>, %values: memref<?x2x64x32xf16>, %out: memref<8x64xf32>) {
  // expected-error@below {{expected values [?, head, dim, position] of f32, bf16 or i8, found 'memref<?x2x64x32xf16>'}}
  kern.block_weigh %i rows (%scores) by %values of %i, %i chunk %i pages %i to %i below %i into %out : memref<8x260xf32> by memref<?x2x64x32xf16> into memref<8x64xf32>
  return
}

// -----

func.func @float_page(%i: index, %codes: vector<16xi8>, %values: memref<?x2x64x32xbf16>) {
  // expected-error@below {{expected pages of i8 [?, head, dim, position], found 'memref<?x2x64x32xbf16>'}}
  kern.store_codes %codes, %values[%i, %i, %i, %i] : vector<16xi8>, memref<?x2x64x32xbf16>
  return
}

// -----

func.func @wide_codes(%i: index, %codes: vector<16xi32>, %values: memref<?x2x64x32xi8>) {
  // expected-error@below {{expected 16 lanes of i8, found 'vector<16xi32>'}}
  kern.store_codes %codes, %values[%i, %i, %i, %i] : vector<16xi32>, memref<?x2x64x32xi8>
  return
}

// -----

func.func @no_place_for_a_scale(%i: index, %scale: f32, %keys: memref<?x2x8x32xi8>) {
  // expected-error@below {{expected pages of i8 [?, head, dim + 8, position], found 'memref<?x2x8x32xi8>'}}
  kern.store_scale %scale, %keys[%i, %i, %i] : memref<?x2x8x32xi8>
  return
}

// -----

func.func @gemm_arrays(%i: index, %w: memref<8x5x8x32xbf16>) {
  // expected-error@below {{expected a weight, or codes and scales, found 3 arrays}}
  %sums = kern.gemm_start (%w, %w, %w[%i]) : memref<8x5x8x32xbf16>, memref<8x5x8x32xbf16>, memref<8x5x8x32xbf16> -> memref<64x64xf32, "registers">
  return
}

// -----

func.func @gemm_floats(%i: index, %w: memref<8x5x8x16xf32>) {
  // expected-error@below {{expected a weight [panels][blocks][8][32] of bf16, or codes of 64 bytes with scales, found 'memref<8x5x8x16xf32>'}}
  %sums = kern.gemm_start (%w[%i]) : memref<8x5x8x16xf32> -> memref<64x64xf32, "registers">
  return
}

// -----

func.func @gemm_sums(%i: index, %w: memref<8x5x8x32xbf16>) {
  // expected-error@below {{expected sums of a multiple of 8 rows and of 32 columns, at most 256 and the weight's, in f32 in "registers", found 'memref<64x96xf32, "registers">'}}
  %sums = kern.gemm_start (%w[%i]) : memref<8x5x8x32xbf16> -> memref<64x96xf32, "registers">
  return
}

// -----

func.func @gemm_elsewhere(%i: index, %sums: memref<64x64xf32>, %input: memref<2x2x64x32xbf16>) {
  // expected-error@below {{expected sums that kern.gemm_start gives, found 'memref<64x64xf32>'}}
  kern.gemm_piece %i of %i rows (%input[%i]) into %sums : memref<2x2x64x32xbf16> into memref<64x64xf32>
  return
}

// -----

func.func @gemm_stages(%i: index, %codes: memref<8x2x8x64xi8>, %scales: memref<8x4x8xbf16>, %input: memref<2x1x64x32xbf16>) {
  %sums = kern.gemm_start (%codes, %scales[%i]) : memref<8x2x8x64xi8>, memref<8x4x8xbf16> -> memref<64x64xf32, "registers">
  // expected-error@below {{expected stages [stages][parts][64][32] of bf16, of whole blocks of 64 columns, found 'memref<2x1x64x32xbf16>'}}
  kern.gemm_piece %i of %i rows (%input[%i]) into %sums : memref<2x1x64x32xbf16> into memref<64x64xf32, "registers">
  return
}

// -----

func.func @gemm_tiles(%i: index, %w: memref<8x5x8x32xbf16>, %tile: memref<64x32xf32>) {
  %sums = kern.gemm_start (%w[%i]) : memref<8x5x8x32xbf16> -> memref<64x64xf32, "registers">
  // expected-error@below {{expected tiles of 4096 elements in f32, of a multiple of 16 columns, found 'memref<64x32xf32>'}}
  kern.gemm_store %i rows of %sums into %tile : memref<64x64xf32, "registers"> into memref<64x32xf32>
  return
}

// -----

// expected-error@below {{expected least_rows from 2, depth a multiple of 64, rows one of 8, the same unit_block, columns one of 32 up to 256, and 92160 bytes for sums and 2 stages, found 33, 32, 64, 64 and 128}}
#depth = #kern.schedule<target = "cuda", unit_block = 64, rows = 64, columns = 128, least_rows = 33, depth = 32>
