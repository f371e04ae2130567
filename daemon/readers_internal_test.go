package daemon

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/deliver"
	"github.com/fairlead-edge/fairlead/fanout"
	"github.com/fairlead-edge/fairlead/observe"
	"github.com/fairlead-edge/fairlead/topic"
)

// BenchmarkScrape scrapes a server with 5,000 readers of 1,000 topics over
// loopback, whose process has both ends.
func BenchmarkScrape(b *testing.B) {
	const readers, topics = 5000, 1000
	engine := fanout.New(fanout.Config{})
	defer engine.Close()
	s := &site{topics: topic.NewStore(topic.StoreConfig{})}
	for _, text := range []string{"prices/*", "news/**", "chats/*/messages"} {
		match, err := ParsePattern(text)
		if err != nil {
			b.Fatal(err)
		}
		s.cfg.Topics = append(s.cfg.Topics, Topic{Match: match})
	}
	s.pattern = s.cfg.topicPattern()
	s.readers = deliver.New(deliver.Config{Topics: s.topics, Engine: engine})
	server := httptest.NewServer(s.readers)
	defer server.Close()
	d := new(daemon)
	d.site.Store(s)
	d.metrics = observe.New("", observe.Sources{Readers: d.readerMetrics})
	for i := range topics {
		if _, err := s.topics.Append(b.Context(), fmt.Sprint("prices/", i), topic.Batch{Events: []fairlead.Event{{}}}); err != nil {
			b.Fatal(err)
		}
	}
	for i := range readers {
		c, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "GET /topics/prices/%d HTTP/1.1\r\nHost: a\r\n\r\n", i%topics)
		if res, err := http.ReadResponse(bufio.NewReader(io.LimitReader(c, 1<<10)), nil); err != nil || res.StatusCode != http.StatusOK { //nolint:bodyclose // c is closed
			b.Fatal(res, err)
		}
	}
	b.Run("metrics", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			d.metrics.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/metrics", nil))
		}
	})
	b.Run("slow readers", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			d.findSlow(s)
		}
	})
	b.Run("the 100 slowest", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = d.sessions(100)
		}
	})
}
