package conformance_test

import (
	_ "embed"
	"fmt"
	"strings"
	"testing"
)

//go:embed testdata/topic.html
var topicPage string

//go:embed testdata/foreign.html
var foreignPage string

//go:embed testdata/answer.html
var answerPage string

func TestChromiumReadsATopicByEventSourceAndWebSocketThroughACutNetwork(t *testing.T) {
	t.Parallel()
	s := serve(t, "--topics", "--upstream", upstream(t, &site{html: topicPage}))
	network := cut(t, s.http)
	s.publish("news", "0")
	browser := browse(t, network.url+"/")
	next := map[string]int{"eventsource": 0, "websocket": 0}
	for i := range 9 {
		for next["eventsource"] <= i || next["websocket"] <= i {
			got := decode[delivered](t, browser.line())
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

func TestAPageOfAnotherOriginNeitherReadsNorPublishesInChromium(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.publish("news", "secret")
	html := strings.ReplaceAll(foreignPage, "TARGET", strings.TrimPrefix(s.http, "http://"))
	browser := browse(t, upstream(t, &site{html: html})+"/")
	for refused := map[string]bool{}; len(refused) < 3; {
		got := decode[delivered](t, browser.line())
		if got.Type != "refused" {
			t.Fatalf("the foreign page got %+v", got)
		}
		refused[got.Via] = true
	}
	if pg := getPage(t, s.http+"/topics/news"); pg.data() != "secret" {
		t.Errorf("after the foreign page the topic holds %q", pg.data())
	}
}
