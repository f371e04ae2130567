package observe_test

import (
	"fmt"
	"maps"
	"net/http"
	"testing"
	"time"

	"github.com/fairlead-edge/fairlead/observe"
)

func TestTheSummaryIsOfClientsAndOfTheBusiestRoutes(t *testing.T) {
	m := observe.New("v1", observe.Sources{Topics: func() int {
		t.Error("it asks what it does not show")
		return 0
	}})
	for listener, n := range map[string]int{"http": 3, "admin": 5} {
		c := m.Connections(listener)
		for i := range n {
			c.Requested(1, i == 0)
		}
		c.Ended(1, "client_closed", time.Second, int64(n))
	}
	for i, route := range []string{"/c", "/b", "/a"} {
		for range 3 - i {
			m.Request(observe.Request{Route: route, Method: http.MethodGet, Status: http.StatusBadGateway})
			m.Request(observe.Request{Route: route, Method: http.MethodGet, Status: http.StatusOK, Stream: true})
		}
	}
	s, err := m.Summary(2)
	if err != nil {
		t.Fatal(err)
	}
	if s.Reuse != (observe.Reuse{First: 1, Further: 2}) || !maps.Equal(s.Closed, map[string]float64{"client_closed": 1}) {
		t.Errorf("of clients: %+v", s)
	}
	var routes []string
	for _, r := range s.Routes {
		routes = append(routes, fmt.Sprint(r.Route, " ", r.Count, " ", r.Failed, " of ", r.Requests))
	}
	if got := fmt.Sprint(routes); got != "[/b 2 2 of 4 /c 3 3 of 6]" || s.AllRoutes != 3 {
		t.Errorf("%s of %d", got, s.AllRoutes)
	}
}
