package upstream_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/fairlead-edge/fairlead/upstream"
)

// One pool, made at the start of the program, is the transport of a client
// that all of it shares.
func Example() {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.URL.Path) }))
	defer api.Close()

	pool, err := upstream.New(upstream.Config{
		Endpoints:   []string{api.URL + "/v1"},
		Connections: upstream.Connections{Max: 20}, // 40 requests/s × 0.25 s, and as much again
		Queue:       upstream.Queue{Timeout: time.Second},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pool.Close()
	client := &http.Client{Transport: pool}

	for range 3 {
		res, err := client.Get("http://api/orders")
		if err != nil {
			fmt.Println(err)
			return
		}
		body, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		fmt.Println(string(body))
	}
	s := pool.Snapshot()
	fmt.Println(s.Requests, "requests,", s.Dials["ok"], "connection")
	// Output:
	// /v1/orders
	// /v1/orders
	// /v1/orders
	// 3 requests, 1 connection
}

// A pool that asks its endpoints how they are gives no requests to one that
// is not well.
func ExampleNew_health() {
	well := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "from the one that is well") }))
	defer well.Close()
	sick := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }))
	defer sick.Close()

	pool, err := upstream.New(upstream.Config{
		Endpoints: []string{well.URL, sick.URL},
		Health:    upstream.Health{Path: "/healthz", Interval: 20 * time.Millisecond, Unhealthy: 1},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pool.Close()
	unhealthy(pool)

	res, err := (&http.Client{Transport: pool}).Get("http://api/")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	fmt.Println(res.StatusCode, string(body))
	// Output: 200 from the one that is well
}

// unhealthy waits until the pool tells that an endpoint is not well.
func unhealthy(pool *upstream.Pool) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for seen := uint64(0); ; {
		events, more := pool.Events(seen)
		for _, e := range events {
			if e.Kind == "unhealthy" {
				return
			}
			seen = e.Seq
		}
		select {
		case <-more:
		case <-ctx.Done():
			return
		}
	}
}

// What an operator sees of a pool: why each connection was opened and closed.
func ExamplePool_Events() {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Connection", "close") }))
	defer api.Close()
	pool, err := upstream.New(upstream.Config{Endpoints: []string{api.URL}})
	if err != nil {
		fmt.Println(err)
		return
	}
	res, err := (&http.Client{Transport: pool}).Get("http://api/")
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = res.Body.Close()
	pool.Close()

	events, _ := pool.Events(0)
	for _, e := range events {
		fmt.Printf("connection %d %s %q\n", e.Conn, e.Kind, e.Reason)
	}
	// Output:
	// connection 1 opened ""
	// connection 1 closed "response"
}
