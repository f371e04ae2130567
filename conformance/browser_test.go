package conformance_test

import (
	_ "embed"
	"fmt"
	"testing"
)

//go:embed testdata/topic.html
var topicPage string

//go:embed testdata/answer.html
var answerPage string

func TestChromiumReadsATopicByEventSourceAndWebSocketThroughACutNetwork(t *testing.T) {
	t.Parallel()
	s := serve(t, "--topics", "--upstream", upstream(t, &site{html: topicPage}))
	network := cut(t, s.http)
	s.publish("news", "0")
	chromium := browse(t, network.url+"/")
	next := map[string]int{"eventsource": 0, "websocket": 0}
	for i := range 9 {
		for next["eventsource"] <= i || next["websocket"] <= i {
			got := decode[delivered](t, chromium.line())
			if got.Data != fmt.Sprint(next[got.Via]) || got.ID == "" {
				t.Fatalf("after %v came %+v", next, got)
			}
			next[got.Via]++
		}
		if i%3 == 2 {
			network.cut()
		}
		s.publish("news", fmt.Sprint(i+1))
	}
}
