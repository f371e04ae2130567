package deliver_test

import (
	"crypto/tls"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/fairlead-edge/fairlead/deliver"
	"github.com/fairlead-edge/fairlead/fanout"
	"github.com/fairlead-edge/fairlead/topic"
)

// leases counts what is told of connections that were taken.
type leases struct {
	taken atomic.Int64
	ended chan deliver.Ended
}

func (l *leases) take(*http.Request) deliver.Lease {
	l.taken.Add(1)
	return l
}

func (l *leases) Ended(why deliver.Ended) { l.ended <- why }

func TestPlainConnectionsAreTheEngines(t *testing.T) {
	t.Parallel()
	l := &leases{ended: make(chan deliver.Ended, 10)}
	cfg := deliver.Config{Topics: topic.NewStore(topic.StoreConfig{}), AllowPublish: true, Engine: fanout.New(fanout.Config{}), Take: l.take}
	h := deliver.New(cfg)
	server := unstarted(cfg)
	server.Config.Handler = h
	t.Cleanup(func() { _ = cfg.Engine.Close() })
	s := &site{t: t, url: started(t, server).URL, topics: cfg.Topics}
	s.publish("t", "first")
	stream, socket := s.events("/topics/t?after=earliest"), s.socket("/topics/t?after=earliest")
	stream.expect("first")
	socket.expect("first")
	if n := cfg.Engine.Stats().Connections; n != 2 || l.taken.Load() != 2 {
		t.Errorf("the engine has %d connections, %d were taken", n, l.taken.Load())
	}
	for _, i := range h.Sessions(0) {
		if !i.Engine || i.Unsent < 0 || i.Events != 1 || i.Bytes == 0 {
			t.Errorf("%+v", i)
		}
	}
	stream.resp.Body.Close()
	if e := <-l.ended; e.Transport != deliver.TransportSSE || e.Events != 1 || e.Bytes == 0 || e.Remote == "" {
		t.Errorf("%+v", e)
	}
	s.publish("t", "", "Fairlead-Close: ?1")
	if code, _ := socket.closed(); code != 1000 {
		t.Errorf("closed with %d", code)
	}
	<-l.ended
}

func TestOtherConnectionsAreTheHandlers(t *testing.T) {
	t.Parallel()
	l := &leases{ended: make(chan deliver.Ended, 10)}
	cfg := deliver.Config{Topics: topic.NewStore(topic.StoreConfig{}), AllowPublish: true, Engine: fanout.New(fanout.Config{}), Take: l.take}
	h := deliver.New(cfg)
	server := unstarted(cfg)
	server.Config.Handler = h
	server.StartTLS()
	t.Cleanup(server.Close)
	t.Cleanup(server.CloseClientConnections)
	t.Cleanup(func() { _ = cfg.Engine.Close() })
	if _, err := cfg.Topics.Append(t.Context(), "t", topic.Batch{}); err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // its own certificate
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/topics/t", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if all := h.Sessions(0); len(all) != 1 || all[0].Engine || l.taken.Load() != 0 || cfg.Engine.Stats().Connections != 0 {
		t.Errorf("%+v, %d were taken", all, l.taken.Load())
	}
}

func TestASessionThatPanicsIsToldAndEndsAlone(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, serve func(deliver.Config) *site) {
		panicked := make(chan any, 1)
		s := serve(deliver.Config{Observer: deliver.Observer{
			Panicked: func(v any, _ []byte) { panicked <- v },
			Missed:   func(deliver.Missed) { panic("missed") },
		}})
		at := s.publish("a", "1")
		s.do("DELETE", "/topics/a", "")
		s.publish("a", "2")
		other := s.socket("/topics/a?after=earliest")
		other.expect("2")
		broken := s.socket("/topics/a?after=" + string(at)) // of another life: a gap
		if code, _ := broken.closed(); code == 1000 {
			t.Errorf("it is closed with %d", code)
		}
		if v := <-panicked; v != "missed" {
			t.Errorf("it panicked with %v", v)
		}
		s.publish("a", "3")
		other.expect("3")
	})
}
