package proxy_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/proxy"
)

// A proxy alone with net/http: a stream passes event by event.
func Example() {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = fmt.Fprintf(w, "data: %s, asked by way of %s\n\n", r.URL.Path, r.Header.Get("X-Forwarded-Host"))
	}))
	defer upstream.Close()

	target, err := url.Parse(upstream.URL)
	if err != nil {
		panic(err)
	}
	transport := proxy.NewTransport()
	defer transport.CloseIdleConnections()
	front := httptest.NewServer(proxy.New(proxy.Config{Target: target, Transport: transport}))
	defer front.Close()

	req, err := http.NewRequest(http.MethodGet, front.URL+"/prices", nil)
	if err != nil {
		panic(err)
	}
	req.Host = "api.example.com"
	res, err := front.Client().Do(req)
	if err != nil {
		panic(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		panic(err)
	}
	fmt.Print(string(body))
	// Output: data: /prices, asked by way of api.example.com
}

// One error, as the client of a call is told of it and as others are.
func ExampleProblem() {
	err := fmt.Errorf("route: %w", fairlead.Errorf(fairlead.Unavailable, "the upstream has no endpoint at the moment"))
	for _, kind := range []string{"application/grpc+proto", "application/json"} {
		r := httptest.NewRequest(http.MethodPost, "/shop.v1.Orders/Place", nil)
		r.Header.Set("Content-Type", kind)
		w := httptest.NewRecorder()
		proxy.Problem(w, r, err)
		fmt.Println(w.Code, w.Header().Get("Content-Type"), w.Header().Get("Grpc-Status"), w.Header().Get("Grpc-Message"))
	}
	// Output:
	// 200 application/grpc+proto 14 the upstream has no endpoint at the moment
	// 502 application/problem+json
}
