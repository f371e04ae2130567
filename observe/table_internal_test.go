package observe

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

var update = flag.Bool("update", false, "rewrite the generated table of docs/metrics.md")

// described matches what prometheus.Desc says of itself: it has no other way.
var described = regexp.MustCompile(`^Desc\{fqName: "([^"]+)", help: "(.*?)", unit: "[^"]*", constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}$`)

// descriptions returns what a collector has, by the names of its families.
func descriptions(t *testing.T, c prometheus.Collector) map[string][2]string {
	t.Helper()
	ch := make(chan *prometheus.Desc, 1000)
	c.Describe(ch)
	close(ch)
	found := make(map[string][2]string)
	for d := range ch {
		parts := described.FindStringSubmatch(d.String())
		if parts == nil {
			t.Fatalf("not understood: %s", d)
		}
		labels := parts[4]
		if name, _, ok := strings.Cut(parts[3], "="); ok {
			labels = name
		}
		found[parts[1]] = [2]string{strings.ReplaceAll(labels, ",", ", "), strings.ReplaceAll(parts[2], `\"`, `"`)}
	}
	return found
}

// kindOf returns the type of a family that is told, "" where only its series say.
func kindOf(c prometheus.Collector) string {
	switch c.(type) {
	case *prometheus.CounterVec:
		return "counter"
	case *prometheus.GaugeVec, prometheus.Gauge:
		return "gauge"
	case *prometheus.HistogramVec, *vector:
		return "histogram"
	}
	return ""
}

// everything is a server of which every source has something to tell.
var everything = Sources{
	Topics:   func() int { return 1 },
	Captured: func() Captured { return Captured{} },
	InFlight: func() map[string]int { return map[string]int{"": 1} },
	Backlogs: func() map[string]Backlog { return map[string]Backlog{"": {}} },
	Relays:   func() Relays { return Relays{} },
	Readers: func() Readers {
		return Readers{Topics: map[string]Reading{"": {}}, Connections: map[string]Waiting{"": {}}}
	},
	Listeners: func() []Listener { return []Listener{{Open: map[string]int{"": 1}, Refused: map[string]uint64{"": 1}}} },
	Coders:    func() Coders { return Coders{} },
	Draining:  func() bool { return false },
	Spans:     func() *Spans { return &Spans{} },
	Pools: func() []Pool {
		one := map[string]uint64{"": 1}
		return []Pool{{Dials: one, Closes: one, Retries: one, Refusals: one, Endpoints: []PoolEndpoint{{Name: "a"}}}}
	},
}

func TestTheDocumentHasTheTableOfMetrics(t *testing.T) {
	t.Parallel()
	m := New("v1", everything)
	m.Connections("http")
	gathered, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	kinds := make(map[string]string)
	for _, f := range gathered {
		kinds[f.GetName()] = strings.ToLower(f.GetType().String())
	}
	var rows []string
	for _, c := range append(m.families, &state{everything}) {
		for name, d := range descriptions(t, c) {
			kind := cmp.Or(kindOf(c), kinds[name])
			if kind == "" {
				t.Errorf("the test is to give %s a series", name)
			}
			rows = append(rows, fmt.Sprintf("| `%s` | %s | %s | %s |\n", name, kind, d[0], d[1]))
		}
	}
	slices.Sort(rows)
	compareTable(t, "| family | type | labels | what it says |\n| --- | --- | --- | --- |\n"+strings.Join(rows, ""))
}

func compareTable(t *testing.T, want string) {
	t.Helper()
	const file, begin, end = "../docs/metrics.md", "<!-- table:metrics -->\n", "<!-- /table:metrics -->"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(text), begin)
	got, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no section between %s and %s", file, begin, end)
	}
	if *update {
		if err := os.WriteFile(file, []byte(before+begin+want+end+after), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	_, labels, _ := strings.Cut(after, "## Labels")
	for row := range strings.Lines(want) {
		for label := range strings.SplitSeq(strings.Split(row, " | ")[2], ", ") {
			if name := "`" + strings.TrimSpace(label) + "`"; strings.HasPrefix(row, "| `") && name != "``" && !strings.Contains(labels, name) {
				t.Errorf("%s does not say which values the label %s has", file, name)
			}
		}
	}
	if got != want {
		t.Errorf("the table of %s is not that of the code; run go test ./observe -run TableOfMetrics -update", file)
	}
}
