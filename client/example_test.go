package client_test

import (
	"context"
	"fmt"
	"net/http/httptest"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/client"
	"github.com/fairlead-edge/fairlead/deliver"
)

// A reader stores the cursor of what it has dealt with, and goes on from there
// in its next life, on whatever transport.
func Example() {
	server := httptest.NewServer(deliver.New(deliver.Config{AllowPublish: true}))
	defer server.Close()
	ctx, url := context.Background(), server.URL+"/topics/news"

	for _, text := range []string{"one", "two", "three"} {
		event := fairlead.Event{Type: "headline", Data: []byte(text)}
		if _, err := client.Publish(ctx, url, event, client.Config{}); err != nil {
			fmt.Println(err)
			return
		}
	}

	stored := fairlead.Earliest
	for _, transport := range []client.Transport{client.SSE, client.WebSocket, client.Poll} {
		for item, err := range client.Subscribe(ctx, url, client.Config{Transport: transport, After: stored}) {
			if err != nil {
				fmt.Println(err)
				return
			}
			switch item.Kind {
			case client.KindEvent:
				fmt.Printf("%s over %s\n", item.Event.Data, transport)
			case client.KindGap:
				fmt.Println("missed", item.Gap.Skipped)
			case client.KindEnd, client.KindFault:
				return
			}
			stored = item.Cursor
			break // the connection is lost
		}
	}
	// Output:
	// one over sse
	// two over ws
	// three over poll
}
