package daemon

import (
	"strings"
	"testing"
)

func TestTooFewDescriptorsAreWarnedOf(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		descriptors, connections int
		want                     string
	}{
		{65536, 0, ""},
		{65536, 52_428, ""},
		{65536, 60_000, "LimitNOFILE=75005"},
		{65536, 500, ""}, // as the operator wants it
		{1250, 0, ""},
		{1024, 0, "enough for 816 connections: set LimitNOFILE=65536"},
		{1024, 900, "enough for 816: set LimitNOFILE=1130"},
	} {
		got := descriptorWarning(c.descriptors, c.connections)
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%d descriptors for %d connections: %q, want %q", c.descriptors, c.connections, got, c.want)
		}
	}
}
