package daemon

import (
	"errors"
	"testing"

	"github.com/fairlead-edge/fairlead"
)

func TestAShareOfRecordsIsSpacedEvenlyAndBeginsWithTheFirst(t *testing.T) {
	t.Parallel()
	for share, want := range map[Share]int{0: 0, 0.01: 10, 0.1: 100, 0.3: 300, 0.999: 999, 1: 1000} {
		var l logShare
		l.set(share)
		written, longest, skipped := 0, 0, 0
		for i := range 1000 {
			if l.next() {
				written, skipped = written+1, 0
			} else {
				skipped++
				longest = max(longest, skipped)
			}
			if i == 0 && written == 0 && share > 0 {
				t.Errorf("%v: the first is left out", share)
			}
		}
		if written != want || share > 0 && longest > int(1/share) {
			t.Errorf("%v: %d were written, want %d, and %d in a row were not", share, written, want, longest)
		}
	}
}

func TestRequestsAreLoggedByTheShareOfTheirRouteOrTopic(t *testing.T) {
	t.Parallel()
	pattern := func(text string) Pattern {
		p, err := ParsePattern(text)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	cfg := Default()
	cfg.Routes = []Route{{Path: pattern("/v1/**"), Log: 0.1}, {Path: pattern("/topics/**"), Log: 0.2}}
	cfg.Topics = []Topic{{Match: pattern("prices/*"), Log: 0.3}, {Match: pattern("**"), Log: 0.4}}
	var l logShares
	l.configure(&cfg)
	for _, c := range []struct {
		route, path string
		want        float64
	}{
		{"/v1/**", "/v1/a", 0.1},
		{"/topics/**", "/topics/prices/a", 0.3},
		{"/topics/**", "/topics/orders", 0.4},
	} {
		if one := l.of(c.route, c.path); one.share != c.want || one != l.of(c.route, c.path) {
			t.Errorf("%s %s: %v", c.route, c.path, one.share)
		}
	}
	for route, path := range map[string]string{"/topics/**": "/topics", noRoute: "/v1/a", "/fairlead.v1.Topics/**": "/fairlead.v1.Topics/Publish"} {
		if one := l.of(route, path); one.sampled {
			t.Errorf("%s: %v", path, one.share)
		}
	}
}

func TestFaultsAreToldFromClientsThatLeave(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		flight
		ended

		want bool
	}{
		{flight{}, ended{status: 200}, false},
		{flight{}, ended{status: 404}, false},
		{flight{reason: string(fairlead.Cancelled)}, ended{status: 200}, false},
		{flight{reason: string(fairlead.Draining)}, ended{status: 101}, false},
		{flight{}, ended{status: 200, grpc: "0"}, false},
		{flight{}, ended{status: 200, grpc: "1"}, false},
		{flight{}, ended{status: 503}, true},
		{flight{}, ended{status: 200, grpc: "14"}, true},
		{flight{reason: "aborted"}, ended{}, true},
		{flight{reason: string(fairlead.TooSlow)}, ended{status: 200}, true},
		{flight{err: errors.New("broken")}, ended{status: 200}, true},
	} {
		if got := faulty(&c.flight, &c.ended); got != c.want {
			t.Errorf("%+v %+v: %v", c.flight, c.ended, got)
		}
	}
}
