package deliver_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/fairlead-edge/fairlead/deliver"
	"github.com/fairlead-edge/fairlead/sse"
)

// A handler alone with net/http: a publisher, and a reader that drops and comes
// back with the id of the last event it saw.
func Example() {
	topics := deliver.New(deliver.Config{AllowPublish: true})
	server := httptest.NewServer(topics)
	defer server.Close()
	url := server.URL + "/topics/news"

	for _, headline := range []string{"one", "two", "three"} {
		resp, err := http.Post(url, "text/plain", strings.NewReader(headline))
		if err != nil {
			fmt.Println(err)
			return
		}
		resp.Body.Close()
	}
	read := func(lastEventID string, n int) (id string) {
		req, err := http.NewRequest(http.MethodGet, url+"?after=earliest", http.NoBody)
		if err != nil {
			fmt.Println(err)
			return ""
		}
		req.Header.Set("Accept", "text/event-stream")
		if lastEventID != "" {
			req.Header.Set("Last-Event-ID", lastEventID)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			fmt.Println(err)
			return ""
		}
		defer resp.Body.Close() // after n events: a drop
		events := sse.NewDecoder(resp.Body)
		for range n {
			e, err := events.Next()
			if err != nil {
				fmt.Println(err)
				return ""
			}
			fmt.Printf("%s\n", e.Data)
		}
		return events.LastEventID()
	}
	id := read("", 2)
	fmt.Println("drop")
	read(id, 1)

	resp, err := http.Get(url + "?after=" + id + "&after=unused")
	if err == nil {
		defer resp.Body.Close()
		_, _ = io.ReadFull(resp.Body, make([]byte, 1))
		fmt.Println(resp.Header.Get("Content-Type"))
	}
	// Output:
	// one
	// two
	// drop
	// three
	// text/event-stream
}
