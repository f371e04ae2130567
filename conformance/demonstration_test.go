package conformance_test

import (
	"strings"
	"testing"
)

// demonstrated is what the demonstration's visitor prints.
type demonstrated struct {
	What    string `json:"what"`
	Readers map[string]struct {
		State    string `json:"state"`
		Sent     int    `json:"sent"`
		Received int    `json:"received"`
		Lost     int    `json:"lost"`
		Twice    int    `json:"twice"`
		Behind   int    `json:"behind"`
		Resumed  *int   `json:"resumed"`
	} `json:"readers"`
	Verdict string `json:"verdict"`
	Trouble string `json:"trouble"`

	Scheme     string   `json:"scheme"`
	Size       string   `json:"size"`
	Violations []string `json:"violations"`
	Sideways   int      `json:"sideways"`
}

func TestInTheDemonstrationNothingIsLostWhileThePlainProxyLoses(t *testing.T) {
	t.Parallel()
	s := serveIn(t, []string{"FAIRLEAD_ADMIN_TOKEN=open-sesame"})
	visitor := node(t, "demonstration.mjs", chromium(t), s.admin+"/", artifacts(t), "open-sesame")
	for _, what := range []string{"began", "not cut", "cut", "back", "slow", "caught up", "one cut", "one back"} {
		seen := decode[demonstrated](t, visitor.line())
		if seen.What != what || len(seen.Readers) != 5 {
			t.Fatalf("for %q: %+v", what, seen)
		}
		for name, r := range seen.Readers {
			loses := name == "plain" && what != "began" && what != "not cut" && what != "cut"
			if (r.Lost > 0) != loses || r.Twice > 0 {
				t.Errorf("%s, %s: %+v", what, name, r)
			}
			if r.Received+r.Lost+r.Behind < r.Sent-1 { // what a row says was read between two of its drawings
				t.Errorf("%s, %s: %+v do not add up", what, name, r)
			}
		}
		if (seen.Trouble != "") != (what == "not cut") || what == "not cut" && seen.Verdict != "" {
			t.Errorf("%s: the trouble is %q, the verdict %q", what, seen.Trouble, seen.Verdict)
		}
		if what == "back" && (!strings.Contains(seen.Verdict, "Lost so far: 0 by the readers with a cursor, ") ||
			strings.Contains(seen.Verdict, " 0 by that of the plain proxy")) {
			t.Errorf("the verdict is %q", seen.Verdict)
		}
	}
	for range 4 {
		seen := decode[demonstrated](t, visitor.line())
		if len(seen.Violations) > 0 || seen.Sideways > 0 {
			t.Errorf("%s, %s: %q, %d px sideways", seen.Scheme, seen.Size, seen.Violations, seen.Sideways)
		}
	}
}
