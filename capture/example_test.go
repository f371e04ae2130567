package capture_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"

	"github.com/fairlead-edge/fairlead/capture"
)

// An API that streams an answer is put behind the standard library's proxy.
// The answer can then be had again from its own URL, although the API has
// answered once and knows nothing of it.
func Example() {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "data: to be\n\n", "data: or not to be\n\n")
	}))
	defer api.Close()
	target, err := url.Parse(api.URL)
	if err != nil {
		panic(err)
	}

	store := capture.NewStore(capture.StoreConfig{})
	defer store.Close()
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.Transport = store.Transport(capture.Config{OnDisconnect: capture.Continue}, http.DefaultTransport)

	mux := http.NewServeMux()
	mux.Handle(capture.Prefix+"/", store)
	mux.Handle("/", proxy)
	front := httptest.NewServer(mux)
	defer front.Close()

	answer, err := http.Get(front.URL + "/answer")
	if err != nil {
		panic(err)
	}
	_ = answer.Body.Close() // the client drops before it has read anything

	again, err := http.Get(front.URL + answer.Header.Get("Content-Location"))
	if err != nil {
		panic(err)
	}
	defer again.Body.Close()
	stream, err := io.ReadAll(again.Body)
	if err != nil {
		panic(err)
	}
	data, _ := events(string(stream))
	for _, d := range data {
		fmt.Println(d)
	}
	// Output:
	// to be
	// or not to be
	// fairlead.end
}
