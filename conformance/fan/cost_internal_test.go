//go:build linux

package main

import (
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
)

func TestServersThatAreComparedTakeTurnsInEachOfTheirLives(t *testing.T) {
	var order []string
	closed, started := 0, []int{}
	d, err := compare(10, func(first int) (*watched, error) {
		started = append(started, first)
		order = append(order, "|")
		return &watched{
			without: &target{name: "a"}, with: &target{name: "b"}, close: func() { closed++ },
			cost: func(t *target) (float64, error) {
				order = append(order, t.name)
				if t.name == "b" {
					return 3, nil
				}
				return 2, nil
			},
		}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if closed != lives || !slices.Equal(started, []int{0, 1, 0, 1}) {
		t.Errorf("%d of the servers %v are stopped", closed, started)
	}
	// A turn of each warms up, in each life.
	if got, want := strings.Join(order, ""), "|abbaab|abbaab|abbaabba|abbaabba"; got != want {
		t.Errorf("the turns are %s, want %s", got, want)
	}
	if got, want := d.columns(3), "2.00 | 3.00 | **1.500** | 1.500–1.500 | 1.500–1.500"; got != want || len(d.ratios) != 10 {
		t.Errorf("%d turns: %s, want %s", len(d.ratios), got, want)
	}
}

func TestRequestsKeepTheirConnectionsUnlessTheServerClosesThem(t *testing.T) {
	var asked, opened atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 5 {
			w.Header().Set("Connection", "close")
		}
		originate(w, r)
	}))
	s.Config.ConnState = countNew(&opened)
	s.Start()
	defer s.Close()
	g := &getter{address: s.Listener.Addr().String(), path: "/"}
	defer g.close()
	if err := getAll(t.Context(), []*getter{g}, 10); err != nil {
		t.Fatal(err)
	}
	if asked.Load() != 10 || opened.Load() != 2 {
		t.Errorf("%d requests came over %d connections", asked.Load(), opened.Load())
	}
}

func TestARequestThatIsNotAnsweredAsMeantEndsTheMeasurement(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	g := &getter{address: s.Listener.Addr().String(), path: "/"}
	defer g.close()
	if err := g.get(t.Context(), 2); err == nil || !strings.Contains(err.Error(), "status 404") {
		t.Errorf("the error is %v", err)
	}
}

func countNew(n *atomic.Int64) func(net.Conn, http.ConnState) {
	return func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			n.Add(1)
		}
	}
}
