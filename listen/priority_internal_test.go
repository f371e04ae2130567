package listen

import (
	"fmt"
	"strings"
	"testing"
)

func TestPrioritiesAreReadAsADictionary(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ field, want string }{
		{"", "3"},
		{"u=0", "0"},
		{"u=7,i", "7 i"},
		{"  u=2 \t,\ti  ", "2 i"},
		{"i=?1", "3 i"},
		{"i, i=?0", "3"},
		{"u=5, u=1", "1"},
		{"i;x=1, u=4;y", "4 i"},
		{`a="u=1, \"i", u=6, b=(1 "two" :dGhyZWU=:;p=1), c=@1659578233, d=%"%c3%bc", e=-1.5, f=tok/en:*`, "6"},
		// What is of a wrong type, or no urgency, tells nothing of itself.
		{"u=8, i", "3 i"},
		{"u=-1, i", "3 i"},
		{"u=1.0", "3"},
		{"u, i=1", "3"},
		{`u="1"`, "3"},
		{"u=(1)", "3"},
		// What is no dictionary tells nothing at all.
		{"u=1,", "3"},
		{"u=1 i", "3"},
		{"u =1", "3"},
		{"u=", "3"},
		{"u=1, U=2", "3"},
		{`u=1, a="`, "3"},
		{`u=1, a="\`, "3"},
		{"u=1, a=(1", "3"},
		{"u=1, a=(1;", "3"},
		{"u=1, a=:x", "3"},
		{"u=1;;", "3"},
	} {
		urgency, incremental := parsePriority([]string{c.field}).apply(defaultUrgency, false)
		got := fmt.Sprint(urgency)
		if incremental {
			got += " i"
		}
		if got != c.want {
			t.Errorf("%q: %s, want %s", c.field, got, c.want)
		}
	}
	if u, i := parsePriority([]string{"u=1", "i"}).apply(3, false); u != 1 || !i {
		t.Error("two lines are not one dictionary")
	}
	if u, i := parsePriority([]string{"u=9"}).apply(2, true); u != 2 || !i {
		t.Error("what is not told does not stay")
	}
}

func FuzzPriority(f *testing.F) {
	for _, seed := range []string{"u=1, i", `a="\"", u=6, b=(1 "two";p :dA==:), i=?0`, "u=1,", "%\"", "(", ";;", "a=(a(", "*=@1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, field string) {
		p := parsePriority([]string{field})
		if u, _ := p.apply(3, false); u < 0 || u > 7 {
			t.Errorf("urgency %d", u)
		}
		// Of the members of a dictionary the last counts.
		if after := parsePriority([]string{field, "u=4, i=?0"}); after.urgency >= 0 {
			if u, i := after.apply(3, true); u != 4 || i {
				t.Errorf("%d %v", u, i)
			}
		} else if p.urgency >= 0 && strings.TrimSpace(field) != "" {
			t.Error("one more member makes it unreadable")
		}
	})
}
