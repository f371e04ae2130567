package observe_test

import (
	"strings"
	"testing"

	"github.com/fairlead-edge/fairlead/observe"
)

func TestAScrapeShowsWhereReadersStandAndWhatTheyMissed(t *testing.T) {
	t.Parallel()
	m := observe.New("v1", observe.Sources{Readers: func() observe.Readers {
		return observe.Readers{
			Topics:      map[string]observe.Reading{"prices/*": {Readers: 3, Lag: 20, MaxLag: 15}, "**": {}},
			Connections: map[string]observe.Waiting{"sse": {Buffered: 7, Unsent: 8}},
		}
	}})
	m.Missed("prices/*", 4, false)
	m.Missed("prices/*", 5, true)
	m.Missed("news/*", 0, true)
	text := scrape(m)
	for _, want := range []string{
		`fairlead_topic_readers{topics="prices/*"} 3`,
		`fairlead_topic_readers{topics="**"} 0`,
		`fairlead_topic_lag_events{topics="prices/*"} 20`,
		`fairlead_topic_lag_max_events{topics="prices/*"} 15`,
		`fairlead_session_buffered_bytes{transport="sse"} 7`,
		`fairlead_session_unsent_bytes{transport="sse"} 8`,
		`fairlead_topic_events_skipped_total{topics="prices/*"} 9`,
		`fairlead_topic_gaps_total{topics="prices/*"} 1`,
		`fairlead_topic_gaps_total{topics="news/*"} 1`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no %s", want)
		}
	}
	if strings.Contains(text, `fairlead_topic_events_skipped_total{topics="news/*"}`) {
		t.Error("a gap counts as skipped events")
	}
}
