package diagnose_test

import (
	"strings"
	"testing"

	"github.com/fairlead-edge/fairlead/conformance/drill/diagnose"
)

const scrape = `# HELP a_total Things.
# TYPE a_total counter
a_total{pool="x",reason="say \"no\", \\ or\nmore}"} 3
a_total{pool="y",reason="other"} 4 1700000000000
up 1
waits_bucket{pool="x",le="0.1"} 1
waits_bucket{pool="x",le="1"} 5
waits_bucket{pool="x",le="+Inf"} 6
waits_bucket{pool="y",le="1"} 10
waits_sum{pool="x"} 2.5e-01
`

func TestTheTextOfAScrapeIsRead(t *testing.T) {
	t.Parallel()
	m, err := diagnose.ParseMetrics(strings.NewReader(scrape))
	if err != nil {
		t.Fatal(err)
	}
	if got := m["a_total"][0].Labels["reason"]; got != "say \"no\", \\ or\nmore}" {
		t.Errorf("a label is %q", got)
	}
	for _, x := range []struct {
		what      string
		got, want float64
	}{
		{"all", m.Sum("a_total"), 7},
		{"those of a label", m.Sum("a_total", "pool", "y"), 4},
		{"one without labels", m.Sum("up"), 1},
		{"none", m.Sum("a_total", "pool", "z"), 0},
		{"a sum", m.Sum("waits_sum"), 0.25},
		{"below a bound", m.Below("waits", 1), 15},
		{"below one between bounds", m.Below("waits", 0.5, "pool", "x"), 1},
	} {
		if x.got != x.want {
			t.Errorf("%s: %v, want %v", x.what, x.got, x.want)
		}
	}
}

func TestWhatIsNoScrapeIsAnErrorThatNamesTheLine(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"up 1\n<html>":           "line 2",
		"up":                     "no value",
		"up x":                   "no number",
		"up{a=\"b} 1":            "does not end",
		"up{a} 1":                "no label",
		"up{a=\"b\"}":            "no value",
		strings.Repeat("x", 1e6): "too long",
	} {
		if _, err := diagnose.ParseMetrics(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: error %v, want one with %q", text, err, want)
		}
	}
}

func FuzzParseMetrics(f *testing.F) {
	f.Add(scrape)
	f.Add("a{b=\"\\")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := diagnose.ParseMetrics(strings.NewReader(text))
		if (m == nil) == (err == nil) {
			t.Errorf("%v beside the error %v", m, err)
		}
	})
}
