// RUN: lathe-opt %s --kern-plan-memory --split-input-file | FileCheck %s

// A layer: the stream lives through the launches between its birth and the residual's, so it keeps its slot; what a launch writes is never in a slot that
// it reads; the query's slot is free again for the residual's result. The logits stay outside.
// CHECK-LABEL: func.func @step()
// CHECK-NEXT: %[[X:.*]] = kern.buffer rows slot 0 : memref<?x64xf32>
// CHECK-NEXT: kern.launch @embed(%[[X]])
// CHECK-NEXT: %[[Q:.*]] = kern.buffer rows slot 1 : memref<?x64xf32>
// CHECK-NEXT: kern.launch @qkv(%[[X]], %[[Q]])
// CHECK-NEXT: %[[A:.*]] = kern.buffer rows slot 2 : memref<?x64xf32>
// CHECK-NEXT: kern.launch @attention(%[[Q]], %[[A]])
// CHECK-NEXT: %[[X1:.*]] = kern.buffer rows slot 1 : memref<?x64xf32>
// CHECK-NEXT: kern.launch @o_residual(%[[A]], %[[X]], %[[X1]])
// CHECK-NEXT: %[[H:.*]] = kern.buffer rows slot {{[02]}} : memref<?x192xf32>
// CHECK-NEXT: kern.launch @gate_up(%[[X1]], %[[H]])
// CHECK-NEXT: %[[LOGITS:.*]] = kern.buffer logit_rows logits : memref<?x512xf32>
// CHECK-NEXT: kern.launch @head(%[[H]], %[[LOGITS]])
func.func @step() {
  %x = kern.buffer rows : memref<?x64xf32>
  kern.launch @embed(%x) : memref<?x64xf32>
  %q = kern.buffer rows : memref<?x64xf32>
  kern.launch @qkv(%x, %q) : memref<?x64xf32>, memref<?x64xf32>
  %a = kern.buffer rows : memref<?x64xf32>
  kern.launch @attention(%q, %a) : memref<?x64xf32>, memref<?x64xf32>
  %x1 = kern.buffer rows : memref<?x64xf32>
  kern.launch @o_residual(%a, %x, %x1) : memref<?x64xf32>, memref<?x64xf32>, memref<?x64xf32>
  %h = kern.buffer rows : memref<?x192xf32>
  kern.launch @gate_up(%x1, %h) : memref<?x64xf32>, memref<?x192xf32>
  %logits = kern.buffer logit_rows logits : memref<?x512xf32>
  kern.launch @head(%h, %logits) : memref<?x192xf32>, memref<?x512xf32>
  return
}

// -----

// Of the free slots the one nearest in size; a slot of rows is never one of logit rows, of which there may be fewer.
// CHECK-LABEL: func.func @step()
// CHECK: kern.buffer rows slot 0 : memref<?x512xf32>
// CHECK: kern.buffer rows slot 1 : memref<?x64xf32>
// CHECK: kern.launch @two
// CHECK: kern.buffer rows slot 1 : memref<?x96xf32>
// CHECK: kern.buffer rows slot 0 : memref<?x480xf32>
// CHECK: kern.launch @two
// CHECK: kern.buffer logit_rows slot 2 : memref<?x64xf32>
func.func @step() {
  %a = kern.buffer rows : memref<?x512xf32>
  %b = kern.buffer rows : memref<?x64xf32>
  kern.launch @two(%a, %b) : memref<?x512xf32>, memref<?x64xf32>
  %c = kern.buffer rows : memref<?x96xf32>
  %d = kern.buffer rows : memref<?x480xf32>
  kern.launch @two(%d, %c) : memref<?x480xf32>, memref<?x96xf32>
  %s = kern.buffer logit_rows : memref<?x64xf32>
  kern.launch @select(%s) : memref<?x64xf32>
  return
}

// -----

// A buffer that no launch uses lives nowhere, and does not end the life of another.
// CHECK-LABEL: func.func @step()
// CHECK-NEXT: %[[X:.*]] = kern.buffer rows slot [[SLOT:[0-9]+]]
// CHECK: kern.buffer rows slot
// CHECK-NOT: slot [[SLOT]] :
// CHECK: kern.launch @two(%[[X]], %
func.func @step() {
  %x = kern.buffer rows : memref<?x64xf32>
  kern.launch @one(%x) : memref<?x64xf32>
  %unused = kern.buffer rows : memref<?x64xf32>
  %y = kern.buffer rows : memref<?x64xf32>
  kern.launch @two(%x, %y) : memref<?x64xf32>, memref<?x64xf32>
  return
}
