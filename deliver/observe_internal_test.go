package deliver

import (
	"testing"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/topic"
)

// BenchmarkTelling measures what it takes to tell of a write with an event, besides
// what who is told makes of it.
func BenchmarkTelling(b *testing.B) {
	log := topic.New("a", topic.Policy{})
	reader := topic.NewReader()
	if err := reader.Add(log, fairlead.Latest); err != nil {
		b.Fatal(err)
	}
	s := &stream{}
	s.h, s.reader, s.since = New(Config{Observer: Observer{Delivered: func(Delivery) {}}}), reader, time.Now().UnixNano()
	if _, err := log.Append(b.Context(), topic.Batch{Events: []fairlead.Event{{Data: []byte("x")}}}); err != nil {
		b.Fatal(err)
	}
	items := make([]topic.Item, 1)
	reader.Poll(items)
	b.ReportAllocs()
	for b.Loop() {
		then := s.tally()
		s.events.Add(1)
		s.delivered(items, then, 0, &s.last)
	}
}
