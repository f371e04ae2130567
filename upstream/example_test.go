package upstream_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"github.com/fairlead-edge/fairlead/upstream"
)

// A pool of two copies of an API is the transport of an ordinary client.
func Example() {
	api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.URL.Path) })
	one, two := httptest.NewServer(api), httptest.NewServer(api)
	defer one.Close()
	defer two.Close()

	pool, err := upstream.New(upstream.Config{Endpoints: []string{one.URL, two.URL + "/v2"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pool.Close()
	client := &http.Client{Transport: pool}
	for range 2 {
		res, err := client.Get("http://api/orders")
		if err != nil {
			fmt.Println(err)
			return
		}
		body, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		fmt.Println(string(body))
	}
	// Output:
	// /orders
	// /v2/orders
}
