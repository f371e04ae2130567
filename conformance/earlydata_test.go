package conformance_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/quic-go/quic-go/http3"
)

// seen is what an API saw of a request.
type seen struct{ method, path, earlyData string }

// early is an HTTP/3 client that sends requests before the handshake's end, to
// an API that tells what arrives.
type early struct {
	requests

	arrived chan seen
	network *valve
}

// secondVisit returns a client that has been at the server before and has
// begun to connect again; held says that what the server sends does not come.
func secondVisit(t *testing.T, held bool, routes string) *early {
	t.Helper()
	e := &early{arrived: make(chan seen, 8)}
	api := upstream(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got := seen{r.Method, r.URL.Path, strings.Join(r.Header.Values("Early-Data"), ",")}
		e.arrived <- got
		if strings.HasSuffix(got.path, "/too-soon") && got.earlyData == "1" {
			w.WriteHeader(http.StatusTooEarly)
			return
		}
		fmt.Fprint(w, got.path)
	}))
	s := edge(t, "upstreams: {api: {endpoints: ["+api+"]}}\nroutes: ["+routes+"]\n")
	e.network = newValve(t, strings.TrimPrefix(s.https, "https://"))
	conf, kept := authority().tls("h3"), newSessions()
	conf.ClientSessionCache = kept

	first := h3.client(t, conf)
	whole(t, h3.get(t.Context(), t, first, "https://"+e.network.address.String()+"/first").Body)
	if got := <-e.arrived; got != (seen{"GET", "/first", ""}) {
		t.Errorf("on a full handshake the API saw %+v", got)
	}
	kept.wait(t)
	first.CloseIdleConnections()

	e.network = newValve(t, strings.TrimPrefix(s.https, "https://"))
	if held {
		e.network.close()
	}
	e.requests = connect(t, e.network.address, conf)
	return e
}

// arrive returns what the API sees next.
func (e *early) arrive() seen {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(e.t.Context(), patience)
	defer cancel()
	select {
	case got := <-e.arrived:
		return got
	case <-ctx.Done():
		e.t.Fatal("no request reached the API")
		return seen{}
	}
}

func TestASafeRequestGoesAheadOfTheHandshakeWhereItsRouteSaysSoAndNoOther(t *testing.T) {
	t.Parallel()
	e := secondVisit(t, true, "{path: /early/**, upstream: api, early_data: true}, {path: /**, upstream: api}")
	// In this order, so that what waits has come before what does not.
	post, plain := e.send("POST", "/early/post"), e.send("GET", "/plain")
	soon := e.send("GET", "/early/too-soon")
	if got := e.arrive(); got != (seen{"GET", "/early/too-soon", "1"}) {
		t.Errorf("before the handshake's end the API saw %+v", got)
	}
	get := e.send("GET", "/early/get")
	if got := e.arrive(); got != (seen{"GET", "/early/get", "1"}) {
		t.Errorf("before the handshake's end the API saw %+v", got)
	}
	if n := len(e.arrived); n > 0 {
		t.Errorf("before the handshake's end the API saw %+v, too", <-e.arrived)
	}
	e.network.open()
	late := []seen{e.arrive(), e.arrive()}
	for _, want := range []seen{{"POST", "/early/post", ""}, {"GET", "/plain", ""}} {
		if !slices.Contains(late, want) {
			t.Errorf("after the handshake the API saw %+v, want %+v among it", late, want)
		}
	}
	for _, a := range []struct {
		stream *http3.RequestStream
		want   string
	}{{post, "200 /early/post"}, {plain, "200 /plain"}, {get, "200 /early/get"}, {soon, "425 "}} {
		if got := e.answer(a.stream); got != a.want {
			t.Errorf("the answer is %q, want %q", got, a.want)
		}
	}
	if state := e.conn.ConnectionState(); !state.Used0RTT || !state.TLS.DidResume {
		t.Errorf("the client resumed: %v, and used 0-RTT: %v; want both", state.TLS.DidResume, state.Used0RTT)
	}
}

func TestNothingGoesAheadOfTheHandshakeWhereNoRouteSaysSo(t *testing.T) {
	t.Parallel()
	e := secondVisit(t, false, "{path: /**, upstream: api}")
	str := e.send("GET", "/get")
	if got := e.answer(str); got != "200 /get" {
		t.Errorf("the answer is %q", got)
	}
	if got := e.arrive(); got != (seen{"GET", "/get", ""}) {
		t.Errorf("the API saw %+v", got)
	}
	if state := e.conn.ConnectionState(); state.Used0RTT || !state.TLS.DidResume {
		t.Errorf("the client resumed: %v, and used 0-RTT: %v; want only the former", state.TLS.DidResume, state.Used0RTT)
	}
}
