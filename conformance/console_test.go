package conformance_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// consoleSeen is what the console's visitor prints.
type consoleSeen struct {
	View       string   `json:"view"`
	Scheme     string   `json:"scheme"`
	Size       string   `json:"size"`
	Violations []string `json:"violations"`
	Sideways   int      `json:"sideways"`
	Text       string   `json:"text"`

	Up        string `json:"up"`
	Down      string `json:"down"`
	Filtered  string `json:"filtered"`
	Typed     string `json:"typed"`
	Marked    string `json:"marked"`
	Rate      string `json:"rate"`
	Told      string `json:"told"`
	Streams   int    `json:"streams"`
	Shed      string `json:"shed"`
	Cancelled bool   `json:"cancelled"`
	Drained   string `json:"drained"`
}

// artifacts returns the folder in which screenshots are kept.
func artifacts(t *testing.T) string {
	t.Helper()
	folder, err := filepath.Abs("../artifacts")
	if err == nil {
		err = os.MkdirAll(folder, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return folder
}

func TestTheConsoleShowsEverythingAndItsButtonsWork(t *testing.T) {
	t.Parallel()
	s := serveIn(t, []string{"FAIRLEAD_ADMIN_TOKEN=open-sesame"}, "--topics", "--upstream", upstream(t, &site{html: "<p>here"}))
	for i := range 3 {
		s.publish(fmt.Sprintf("topic-%d", i), "x")
	}
	curl(t, s.http+"/").rest()
	reader := curl(t, "-N", s.http+"/topics/topic-1?after=earliest")
	if e, ok := reader.event(); !ok || e.data != "x" {
		t.Fatalf("the reader has %+v", e)
	}
	visitor := node(t, "console.mjs", chromium(t), s.admin+"/", artifacts(t), "open-sesame")
	if seen := decode[consoleSeen](t, visitor.line()); seen.Rate != "50" {
		t.Errorf("%+v", seen)
	}
	said := map[string][]string{
		"overview": {"Connections", "client_closed"}, "connections": {"topic-1", "sse"}, "topics": {"topic-2"}, "routes": {"/**"},
		"pools": {"Pool upstream", "opened", "waiting for one"},
	}
	for range len(said) * 4 {
		seen := decode[consoleSeen](t, visitor.line())
		if len(seen.Violations) > 0 || seen.Sideways > 0 {
			t.Errorf("%s, %s, %s: %q, %d px sideways", seen.View, seen.Scheme, seen.Size, seen.Violations, seen.Sideways)
		}
		for _, part := range said[seen.View] {
			if seen.Text != "" && !strings.Contains(seen.Text, part) {
				t.Errorf("%s does not say %q: %q", seen.View, part, seen.Text)
			}
		}
	}
	if seen := decode[consoleSeen](t, visitor.line()); seen.Up != "topic-0" || seen.Down != "topic-2" || seen.Filtered != "topic-2" || seen.Typed != "topic-2" {
		t.Errorf("%+v", seen)
	}
	if seen := decode[consoleSeen](t, visitor.line()); !strings.HasPrefix(seen.Marked, "Topics") {
		t.Errorf("%+v", seen)
	}
	if seen := decode[consoleSeen](t, visitor.line()); !strings.Contains(seen.Told, "out of ink") || seen.Streams != 0 {
		t.Errorf("%+v", seen)
	}
	if seen := decode[consoleSeen](t, visitor.line()); !strings.Contains(seen.Shed, "share") {
		t.Errorf("%+v", seen)
	}
	for {
		e, ok := reader.event()
		if !ok {
			t.Error("the reader was not told to come back")
			break
		}
		if e.kind == "fairlead.draining" {
			break
		}
	}
	if seen := decode[consoleSeen](t, visitor.line()); !seen.Cancelled {
		t.Errorf("%+v", seen)
	}
	if seen := decode[consoleSeen](t, visitor.line()); seen.Drained == "live" || seen.Drained == "" {
		t.Errorf("%+v", seen)
	}
	visitor.stop()
	reader.stop()
	s.wait() // it ends by itself, as the button asked
}
