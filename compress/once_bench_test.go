package compress_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/fairlead-edge/fairlead/compress"
)

// discarding counts what a reader is sent.
type discarding struct {
	header http.Header
	bytes  int64
}

func (d *discarding) Header() http.Header { return d.header }
func (*discarding) WriteHeader(int)       {}
func (*discarding) FlushError() error     { return nil }

func (d *discarding) Write(p []byte) (int, error) {
	d.bytes += int64(len(p))
	return len(p), nil
}

// BenchmarkEvents publishes an event to all readers of a topic, and is what of
// it is coding: the readers' connections cost nothing. ns/op is of one event to
// all of them. A coder for each reader costs each of them the same, so that 100
// are enough to know what 1,000 cost, who would hold 0.6 to 1.1 GB.
func BenchmarkEvents(b *testing.B) {
	d := newDictionary(b, samples(32<<10))
	for _, event := range []struct {
		name string
		make func(r *rand.Rand) []byte
	}{{"order", anOrder}, {"tick", aTick}} {
		for _, c := range []struct {
			name, accept string
			cfg          compress.Config
			readers      []int
		}{
			{"identity", "identity", compress.Config{}, []int{1, 1000}},
			{"gzip", "gzip", compress.Config{}, []int{1, 100}},
			{"brotli", "br", compress.Config{}, []int{1, 100}},
			{"zstd", "zstd", compress.Config{}, []int{1, 100}},
			{"dcz-alone", "dcz", compress.Config{Dictionary: d, NoShare: true}, []int{1, 100}},
			{"dcz-shared", "dcz", compress.Config{Dictionary: d}, []int{1, 1000}},
		} {
			for _, readers := range c.readers {
				b.Run(fmt.Sprintf("%s/%s/readers=%d", event.name, c.name, readers), func(b *testing.B) {
					c.cfg.Budget = compress.NewBudget(1 << 30)
					publish(b, c.cfg, d, c.accept, readers, event.make)
				})
			}
		}
	}
}

// BenchmarkCatchUp sends 60 KiB of events in one write, as a reader gets them
// that comes back: the first such reader, the second and any further one.
func BenchmarkCatchUp(b *testing.B) {
	d := newDictionary(b, samples(32<<10))
	r := seeded(12)
	for before, reader := range []string{"first", "second", "third"} {
		b.Run(reader, func(b *testing.B) {
			sent := 0
			for b.Loop() {
				b.StopTimer()
				var batch []byte
				for len(batch) < 60<<10 {
					batch = append(batch, anOrder(r)...)
				}
				var w *httptest.ResponseRecorder
				for i := range before + 1 {
					h := compress.New(compress.Config{Dictionary: d}, streamed(batch))
					w = httptest.NewRecorder()
					if i == before {
						b.StartTimer()
					}
					h.ServeHTTP(w, ask(d, "dcz"))
				}
				sent += w.Body.Len()
			}
			b.ReportMetric(float64(sent)/float64(b.N), "out-B/op")
		})
	}
}

func publish(b *testing.B, cfg compress.Config, d *compress.Dictionary, accept string, readers int, event func(r *rand.Rand) []byte) {
	done := make(chan struct{})
	open := make(chan http.ResponseWriter)
	h := compress.New(cfg, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		open <- w
		<-done
	}))
	var handlers sync.WaitGroup
	conns := make([]discarding, readers)
	streams := make([]http.ResponseWriter, readers)
	flush := make([]*http.ResponseController, readers)
	for i := range readers {
		conns[i].header = http.Header{}
		handlers.Go(func() { h.ServeHTTP(&conns[i], ask(d, accept)) })
		streams[i] = <-open
		flush[i] = http.NewResponseController(streams[i])
	}
	r := seeded(9)
	published := 0
	b.ReportAllocs()
	for b.Loop() {
		e := event(r)
		published += len(e)
		for i := range streams {
			if _, err := streams[i].Write(e); err != nil {
				b.Fatal(err)
			}
			if err := flush[i].Flush(); err != nil {
				b.Fatal(err)
			}
		}
	}
	close(done)
	handlers.Wait()
	sent := int64(0)
	for i := range conns {
		sent += conns[i].bytes
	}
	n := float64(b.N)
	b.ReportMetric(float64(published)/n, "in-B/event")
	b.ReportMetric(float64(sent)/n/float64(readers), "out-B/event")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/n/float64(readers), "ns/event/reader")
}
