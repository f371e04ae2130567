package observe_test

import (
	"strings"
	"testing"

	"github.com/fairlead-edge/fairlead/observe"
)

func TestAScrapeShowsTheConnectionsOfClients(t *testing.T) {
	t.Parallel()
	text := scrape(observe.New("v1", observe.Sources{Listeners: func() []observe.Listener {
		return []observe.Listener{{
			Name: "https", Open: map[string]int{"h2": 3, "h3": 1}, Opened: 9, Refused: map[string]uint64{"rate": 2},
		}}
	}}))
	for _, want := range []string{
		`fairlead_connections{listener="https",protocol="h2"} 3`,
		`fairlead_connections{listener="https",protocol="h3"} 1`,
		`fairlead_connections_opened_total{listener="https"} 9`,
		`fairlead_connections_refused_total{limit="rate",listener="https"} 2`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("the scrape lacks %s", want)
		}
	}
}
