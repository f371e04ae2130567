package conformance_test

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// tour returns the curl lines of the README's sixty seconds.
func tour(t *testing.T) (lines []string) {
	t.Helper()
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(readme), "\n## Sixty seconds\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for line := range strings.Lines(section) {
		if strings.HasPrefix(line, "curl ") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// shell runs a line of the README in dir, with the server of the test in the
// place of the one on the usual port.
func shell(t *testing.T, s *server, dir, line string) *process {
	t.Helper()
	tool(t, "curl", "curl")
	line = strings.ReplaceAll(line, "http://127.0.0.1:8080", s.http)
	return start(t, nil, tool(t, "bash", "bash"), "-c", "cd '"+dir+"' && "+line)
}

// events returns every event of the output of a program that ends by itself.
func (p *process) events() (all []event) {
	p.t.Helper()
	for {
		e, ok := p.event()
		if !ok {
			return all
		}
		all = append(all, e)
	}
}

func TestTheReadmesTourResumesAnAnswerExactly(t *testing.T) {
	t.Parallel()
	lines := tour(t)
	if len(lines) != 3 {
		t.Fatalf("the README's tour has %d curl lines, want 3: %q", len(lines), lines)
	}
	s, dir := serve(t), t.TempDir()

	whole := curl(t, s.http+"/demo/answer")
	dropped := shell(t, s, dir, lines[0])
	first := dropped.events()
	resumed := shell(t, s, dir, lines[1])
	second := resumed.events()
	want := whole.events()

	if len(first) == 0 || len(second) == 0 {
		t.Fatalf("before the drop came %d events, after it %d: %s", len(first), len(second), dropped.errors()+resumed.errors())
	}
	joined := slices.Concat(first, second)
	data := func(events []event) (all []string) {
		for _, e := range events {
			if !strings.HasPrefix(e.kind, "fairlead.") {
				all = append(all, e.kind+" "+e.data)
			}
		}
		return all
	}
	if got, want := data(joined), data(want); !slices.Equal(got, want) {
		t.Errorf("with a drop in the middle the answer is\n%q, without one\n%q", got, want)
	}
	seen := map[string]bool{}
	for _, e := range joined {
		if e.id == "" || seen[e.id] {
			t.Errorf("the id of %+v is missing or came twice", e)
		}
		seen[e.id] = true
	}

	prices := decode[page](t, strings.Join(shell(t, s, dir, lines[2]).rest(), ""))
	if len(prices.Events) != 3 || prices.Next == "" {
		t.Errorf("the page of prices is %+v", prices)
	}
}
