package main

import (
	"os"
	"strings"
	"testing"
)

// TestEachFaultIsNamedAndNothingIsOnAHealthyRun plays them all. What names them is
// told nothing but where the admin listener is.
func TestEachFaultIsNamedAndNothingIsOnAHealthyRun(t *testing.T) {
	t.Parallel()
	for _, f := range faults {
		t.Run(f.title(), func(t *testing.T) {
			t.Parallel()
			r, err := try(t.Context(), binary, f)
			if err != nil {
				t.Fatal(err)
			}
			for _, found := range r.found {
				t.Logf("after %.1f s: %v", r.took.Seconds(), found)
			}
		})
	}
}

func TestTheRunbookHasASectionForEachFault(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range faults {
		if f.inject != nil && !strings.Contains(strings.ToLower(string(text)), "\n### "+strings.ToLower(f.name)+"\n") {
			t.Errorf("docs/operations.md has no section of the name %q", f.name)
		}
	}
}
