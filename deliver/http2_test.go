package deliver_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/deliver"
	"github.com/fairlead-edge/fairlead/sse"
	"github.com/fairlead-edge/fairlead/topic"
)

func TestHTTP2CarriesManyStreamsOnOneConnection(t *testing.T) {
	t.Parallel()
	topics := topic.NewStore(topic.StoreConfig{})
	ended := make(chan deliver.Ended, 10)
	server := unstarted(deliver.Config{
		Topics: topics, AllowPublish: true, WriteTimeout: 200 * time.Millisecond,
		Observer: deliver.Observer{Closed: func(e deliver.Ended) { ended <- e }},
	})
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	client := server.Client()
	do := func(method, path string, body io.Reader) *http.Response {
		req, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, body)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if resp.ProtoMajor != 2 {
			t.Fatalf("it speaks %s", resp.Proto)
		}
		t.Cleanup(func() { resp.Body.Close() })
		return resp
	}
	if resp := do("POST", "/topics/t", strings.NewReader("0")); resp.StatusCode != 201 {
		t.Fatal(resp.Status)
	}
	live := sse.NewDecoder(do("GET", "/topics/t?after=earliest", http.NoBody).Body)
	deaf := do("GET", "/topics/t", http.NoBody)
	if e, err := live.Next(); err != nil || string(e.Data) != "0" {
		t.Fatalf("got %+v, %v", e, err)
	}

	// A reader that does not read is reset, and the other lives on.
	for range 8 {
		if _, err := topics.Append(t.Context(), "t", topic.Batch{Events: []fairlead.Event{{Data: bytes.Repeat([]byte("x"), 1<<20-100)}}}); err != nil {
			t.Fatal(err)
		}
		if _, err := live.Next(); err != nil {
			t.Fatal(err)
		}
	}
	if e := <-ended; e.Reason != fairlead.TooSlow && e.Reason != fairlead.Cancelled {
		t.Errorf("it ended with %+v", e)
	}
	if _, err := io.Copy(io.Discard, deaf.Body); err == nil {
		t.Error("its stream ended well")
	}
	do("POST", "/topics/t", strings.NewReader("last"))
	if e, err := live.Next(); err != nil || string(e.Data) != "last" {
		t.Errorf("got %+v, %v", e, err)
	}

	// A body that stops is refused, and only it.
	body, sent := io.Pipe()
	defer sent.Close()
	go func() { _, _ = sent.Write([]byte("half")) }()
	if resp := do("POST", "/topics/t", body); resp.StatusCode != http.StatusRequestTimeout {
		t.Errorf("a body that stops is %s", resp.Status)
	}
	do("DELETE", "/topics/t", http.NoBody)
	if e, err := live.Next(); err != nil || e.Type != fairlead.TypeFault {
		t.Errorf("got %+v, %v", e, err)
	}
	if _, err := live.Next(); err != io.EOF {
		t.Errorf("after the fault: %v", err)
	}
}
