package deliver

import (
	"fmt"
	"testing"
)

func TestTheFlagOfATraceparentIsItsLastBit(t *testing.T) {
	t.Parallel()
	const before = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-"
	for flags := range 256 {
		if got, want := isSampled(before+fmt.Sprintf("%02x", flags)), flags&1 == 1; got != want {
			t.Errorf("of flags %02x: %v", flags, got)
		}
	}
	for _, none := range []string{"", before, before + "0"} {
		if isSampled(none) {
			t.Errorf("%q counts as recorded", none)
		}
	}
	if !isSampled("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-comes-later") {
		t.Error("a later version of a traceparent is not understood")
	}
}
