// Package leak makes a leaked goroutine a failed test.
//
// A package guards all of its tests with one line:
//
//	func TestMain(m *testing.M) { leak.Main(m) }
//
// Check guards a single test, so that a failure names the test that leaked.
// It is the only package that imports go.uber.org/goleak.
package leak

import (
	"testing"

	"go.uber.org/goleak"
)

// Main runs the tests of m and exits. When they passed but a goroutine that
// they started still runs a good second later, it prints the goroutine's stack
// and exits with status 1.
func Main(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// Check fails t when, at its end, a goroutine runs that did not run when Check
// was called. Call it first: it looks after every later t.Cleanup has run.
//
// Goroutines of other tests count too, so neither t nor a test beside it may be
// parallel.
func Check(t testing.TB) {
	t.Helper()
	known := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, known) })
}
