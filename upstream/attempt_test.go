package upstream_test

import (
	"context"
	"net"
	"net/http"
	"testing"

	"github.com/fairlead-edge/fairlead/upstream"
)

func TestEachAttemptIsToldAndMayCarryFieldsOfItsOwn(t *testing.T) {
	t.Parallel()
	s := serve(t, nil, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Saw", r.Header.Get("Traceparent")) }))
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refusing := "http://" + dead.Addr().String()
	_ = dead.Close()
	type end struct {
		status int
		failed bool
	}
	var attempts []upstream.Attempt
	var ends []end
	told := func(a *upstream.Attempt) func(int, error) {
		attempts = append(attempts, *a)
		if a.Out != nil {
			a.Out.Header = a.Out.Header.Clone()
			a.Out.Header.Set("Traceparent", "of its own")
		}
		return func(status int, err error) { ends = append(ends, end{status, err != nil}) }
	}
	p, err := upstream.New(upstream.Config{
		Endpoints: []string{s.URL, refusing}, Balance: upstream.Balance{Policy: "round_robin", SlowStart: -1},
		Attempts: func(context.Context) func(a *upstream.Attempt) func(int, error) { return told },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	asked := 0
	for ; asked < 10 && len(attempts) == asked; asked++ { // until the one that refuses had its turn
		req, _ := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodGet, "http://pool/", http.NoBody)
		res, err := p.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if req.Header.Get("Traceparent") != "" || res.Header.Get("Saw") != "of its own" {
			t.Errorf("the endpoint saw %q, and the caller's request has %v", res.Header.Get("Saw"), req.Header)
		}
	}
	refused, made := 0, 0
	for i, a := range attempts {
		switch {
		case a.Out == nil:
			refused++
			if a.Endpoint != refusing || ends[i] != (end{0, true}) || a.Asked.IsZero() {
				t.Errorf("an attempt that got no connection: %+v, %+v", a, ends[i])
			}
		case ends[i] != (end{http.StatusOK, false}) || a.Endpoint != s.URL || a.Number != 1 || a.Waited < 0 || a.HTTP2:
			t.Errorf("an attempt that was sent: %+v, %+v", a, ends[i])
		case !a.Reused:
			made++
			if a.Ready.IsZero() || a.Connect <= 0 {
				t.Errorf("the connection is new, and was made: %+v", a)
			}
		}
	}
	if refused != 1 || made == 0 || len(ends) != len(attempts) {
		t.Errorf("%d attempts of %d requests, %d refused, on %d connections that were made, %d ends", len(attempts), asked, refused, made, len(ends))
	}
}
