package capture_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/fairlead-edge/fairlead/capture"
)

func TestTheFirstReaderSeesWholeEventsWithIDs(t *testing.T) {
	t.Parallel()
	f := newFixture(t, capture.Config{}, capture.StoreConfig{})
	resp := f.get()
	c := <-f.up.came
	io.WriteString(c, "data: a\n\nid: up1\nda")
	first := next(t, resp.Body, 1)
	if !strings.HasPrefix(first, "id: fl1") || !strings.HasSuffix(first, "\ndata: a\n\n") {
		t.Errorf("first event %q", first)
	}
	io.WriteString(c, "ta: b\n\n: comment\n\nretry: 5\n\n")
	c.Close()
	rest, err := readAll(resp.Body)
	if err != nil || rest != "id: up1\ndata: b\n\n: comment\n\nretry: 5\n\n" {
		t.Errorf("rest %q, %v", rest, err)
	}
	h := resp.Header
	if !strings.HasPrefix(h.Get("Content-Location"), capture.Prefix+"/") || h.Get("Cache-Control") != "private, no-store" || h.Get("X-Accel-Buffering") != "no" {
		t.Errorf("header %v", h)
	}
	if got := c.req.Header.Get("Accept-Encoding"); got != "identity" {
		t.Errorf("the upstream was asked for coding %q", got)
	}
	if resp.StatusCode != http.StatusOK || f.up.count() != 1 {
		t.Errorf("status %d, %d calls", resp.StatusCode, f.up.count())
	}
}
