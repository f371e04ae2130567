package console_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/fairlead-edge/fairlead/console"
)

// The page is open to all, and what it shows stands behind a guard of one's own.
func Example() {
	c := console.New(console.Config{Snapshot: func() []byte { return []byte(`{"version":"1.0"}`) }})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", c.Page)
	mux.Handle("GET /console/", http.StripPrefix("/console", http.HandlerFunc(c.Page)))
	mux.HandleFunc("GET /console/feed", c.Feed) // which is to be guarded
	server := httptest.NewServer(mux)
	defer server.Close()

	page, err := http.Get(server.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer page.Body.Close()
	html, _ := io.ReadAll(page.Body)
	fmt.Println(page.Header.Get("Content-Type"), strings.Contains(string(html), "console/app.js"))
	// Output: text/html; charset=utf-8 true
}
