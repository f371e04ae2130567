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
			Topics:      map[string]observe.Reading{"prices/*": {Readers: 3, Lag: 20, MaxLag: 15, Bytes: 800}, "**": {}},
			Connections: map[string]observe.Waiting{"sse": {Buffered: 7, Unsent: 8}},
		}
	}})
	m.Missed(observe.Missed{Transport: "sse", Topics: "prices/*", Policy: "newest", Skipped: 4})
	m.Missed(observe.Missed{Transport: "sse", Topics: "prices/*", Policy: "newest", Skipped: 5, Gap: true, Lost: 7})
	m.Missed(observe.Missed{Transport: "poll", Topics: "news/*", Policy: "every", Gap: true})
	text := scrape(m)
	for _, want := range []string{
		`fairlead_topic_readers{topics="prices/*"} 3`,
		`fairlead_topic_readers{topics="**"} 0`,
		`fairlead_topic_lag_events{topics="prices/*"} 20`,
		`fairlead_topic_lag_max_events{topics="prices/*"} 15`,
		`fairlead_topic_lag_bytes{topics="prices/*"} 800`,
		`fairlead_session_buffered_bytes{transport="sse"} 7`,
		`fairlead_session_unsent_bytes{transport="sse"} 8`,
		`fairlead_topic_events_skipped_total{policy="newest",topics="prices/*"} 9`,
		`fairlead_topic_events_lost_total{topics="prices/*"} 7`,
		`fairlead_events_skipped_total{transport="sse"} 9`,
		`fairlead_gaps_total{transport="sse"} 1`,
		`fairlead_topic_gaps_total{topics="prices/*"} 1`,
		`fairlead_topic_gaps_total{topics="news/*"} 1`,
		`fairlead_topic_events_skipped_total{policy="every",topics="news/*"} 0`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no %s", want)
		}
	}
}
