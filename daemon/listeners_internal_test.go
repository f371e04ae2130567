package daemon

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/fairlead-edge/fairlead/deliver"
)

func TestEarlyDataIsForWhatARouteAnswers(t *testing.T) {
	t.Parallel()
	every := Pattern{[]string{anyMany}}
	s := &site{cfg: Config{TopicsPrefix: "/topics", Routes: []Route{{Path: every, EarlyData: true}}}, readers: deliver.New(deliver.Config{})}
	s.match = newRules([]ruled[*served]{{every, &served{route: &route{from: routeSource{cfg: s.cfg.Routes[0]}}}}})
	d := new(daemon)
	d.site.Store(s)
	early := d.earlyData(&s.cfg)
	for path, want := range map[string]bool{"/": true, "/a": true, "/topics/t": false, "/topics": false, "/x/../topics/t": false, ownStreams + "/id": false} {
		if got := early(httptest.NewRequest(http.MethodGet, "http://a"+path, nil)); got != want {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
	if d.earlyData(new(Config)) != nil {
		t.Error("without a route that asks for it, it is offered")
	}
}
