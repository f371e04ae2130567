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

	first := shell(t, s, dir, lines[0]).events()
	second := shell(t, s, dir, lines[1]).events()
	if len(first) == 0 || len(second) == 0 {
		t.Fatalf("before the drop came %d events, after it %d", len(first), len(second))
	}
	seen := map[string]bool{}
	for i, e := range slices.Concat(first, second) {
		if e.id == "" || seen[e.id] {
			t.Errorf("the id of %+v is missing or came twice", e)
		}
		seen[e.id] = true
		if i == len(first)+len(second)-1 {
			if e.data != "[DONE]" {
				t.Errorf("the answer ends with %+v", e)
			}
			break
		}
		if word := decode[struct{ N, Call int }](t, e.data); word.N != i+1 || word.Call != 1 {
			t.Errorf("word %d is %+v, want the next one of the first call", i+1, e)
		}
	}

	prices := decode[page](t, strings.Join(shell(t, s, dir, lines[2]).rest(), ""))
	if len(prices.Events) != 3 || prices.Next == "" {
		t.Errorf("the page of prices is %+v", prices)
	}
}

func TestTheTourInChromiumLosesNothing(t *testing.T) {
	t.Parallel()
	s := serve(t)
	steps := node(t, "tour.mjs", chromium(t), s.http+"/")
	for _, step := range []string{"dropped", "reloaded", "complete", "eventsource", "websocket"} {
		got := decode[struct {
			Step             string
			Words, Lost, Got int
			Call             string
		}](t, steps.line())
		if got.Step != step || got.Lost != 0 || got.Words+got.Got == 0 {
			t.Errorf("after the step %q the page shows %+v, want nothing lost", step, got)
		}
		if got.Words > 0 && got.Call != "1" {
			t.Errorf("after the step %q the API was called %s times, want once", step, got.Call)
		}
	}
}
