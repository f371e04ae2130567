package daemon

import (
	"context"
	"net"
	"net/http"
	"path/filepath"
	"testing"
)

func TestAProcessThatIsStuckIsAskedOnceAndForgotten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "peer")
	stuck, err := new(net.ListenConfig).Listen(t.Context(), "unix", path) // accepted by the kernel, and read by nobody
	if err != nil {
		t.Fatal(err)
	}
	defer stuck.Close()
	p, forgotten := newPeer(path), 0
	p.forget = func() { forgotten++ }
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://peer"+ownStreams+"/some", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.RoundTrip(r); err == nil || t.Context().Err() != nil {
		t.Errorf("a stuck process answered, %v", err)
	}
	if forgotten != 1 {
		t.Error("it will be asked again")
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.RoundTrip(r.WithContext(gone)); err == nil || forgotten != 1 {
		t.Errorf("a client that has left makes it forgotten, %v", err)
	}
}
