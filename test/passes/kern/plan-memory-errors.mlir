// RUN: lathe-opt %s --kern-plan-memory --verify-diagnostics

// expected-error@below {{expected a function @step}}
module {
}
