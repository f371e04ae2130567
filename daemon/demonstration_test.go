package daemon_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/fairlead-edge/fairlead/daemon"
	"github.com/fairlead-edge/fairlead/websocket"
)

// demonstrate starts a demonstration and returns its URL on the admin listener.
func demonstrate(t *testing.T, p *program) string {
	t.Helper()
	status, text := answer(t, http.MethodPost, p.admin+"/demo/start", "", "Authorization", "Bearer sesame")
	var started struct{ Key string }
	if err := json.Unmarshal([]byte(text), &started); status != http.StatusOK || err != nil || started.Key == "" {
		t.Fatalf("start: %d %s", status, text)
	}
	return p.admin + "/demo/" + started.Key
}

func numberOf(t *testing.T, text string) (n int) {
	t.Helper()
	_, number, _ := strings.Cut(text, `"n":`)
	if _, err := fmt.Sscanf(number, "%d,", &n); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return n
}

func TestADemonstrationsCutEndsWhatIsOpenAndNothingIsLostButByThePlainProxy(t *testing.T) {
	p := start(t, "", daemon.Options{AdminToken: "sesame"})
	url := demonstrate(t, p)
	topics, plain := url+"/sse/topics/demo/prices", url+"/plain/demo/live"
	kept, lossy := stream(t, topics), stream(t, plain)
	c, _, err := websocket.Dial(t.Context(), strings.Replace(url, "http", "ws", 1)+"/websocket/topics/demo/prices", websocket.DialConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.CloseNow()
	if _, _, err := c.Read(); err != nil {
		t.Fatal(err)
	}
	id, _, text, err := kept.next()
	if err != nil {
		t.Fatal(err)
	}
	last := numberOf(t, text)
	noID, _, text, err := lossy.next()
	if err != nil || noID != "" {
		t.Fatalf("the plain proxy gives the id %q, %v", noID, err)
	}
	lastPlain := numberOf(t, text)

	if status, text := answer(t, http.MethodPost, url+"/cut?seconds=0.5", ""); status != http.StatusNoContent {
		t.Fatalf("cut: %d %s", status, text)
	}
	for err == nil { // what was under way
		var at, text string
		if at, _, text, err = kept.next(); err == nil && at != "" {
			id, last = at, numberOf(t, text)
		}
	}
	for err = nil; err == nil; {
		if _, _, text, err = lossy.next(); err == nil {
			lastPlain = numberOf(t, text)
		}
	}
	for err = nil; err == nil; {
		_, _, err = c.Read()
	}
	eventually(t, "the network is back", func() bool {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodHead, topics, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		res, err := http.DefaultClient.Do(req)
		if err == nil {
			_ = res.Body.Close()
		}
		return err == nil
	})
	if _, _, text, err = stream(t, topics, "Last-Event-ID", id).next(); err != nil || numberOf(t, text) != last+1 {
		t.Errorf("after %d comes %s, %v", last, text, err)
	}
	if _, _, text, err = stream(t, plain).next(); err != nil || numberOf(t, text) <= lastPlain+1 {
		t.Errorf("the plain proxy gives %s after %d, %v", text, lastPlain, err)
	}
	_, text = answer(t, http.MethodGet, url+"/state", "")
	var state struct{ Sent int }
	if err := json.Unmarshal([]byte(text), &state); err != nil || state.Sent <= last {
		t.Errorf("state: %s, %v; %d has come", text, err, last)
	}
	if err := p.stop(); err != nil { // beside streams that are open
		t.Error(err)
	}
}

func TestASlowReaderOfADemonstrationFallsBehindAloneAndLosesNothing(t *testing.T) {
	p := start(t, "", daemon.Options{AdminToken: "sesame"})
	url := demonstrate(t, p)
	slow, swift := stream(t, url+"/sse/topics/demo/prices"), stream(t, url+"/plain/demo/live")
	_, _, text, err := slow.next()
	if err != nil {
		t.Fatal(err)
	}
	n := numberOf(t, text)
	if status, text := answer(t, http.MethodPost, url+"/slow?reader=sse&on=true", ""); status != http.StatusNoContent {
		t.Fatalf("slow: %d %s", status, text)
	}
	ahead := 0
	next := func() {
		t.Helper()
		if _, _, text, err = slow.next(); err != nil || numberOf(t, text) != n+1 {
			t.Fatalf("after %d: %s, %v", n, text, err)
		}
		n++
	}
	for ahead < n+20 { // it gets some 3 of 10
		next()
		for range 2 {
			if _, _, text, err = swift.next(); err != nil {
				t.Fatal(err)
			}
			ahead = numberOf(t, text)
		}
	}
	if status, text := answer(t, http.MethodPost, url+"/slow?reader=sse&on=false", ""); status != http.StatusNoContent {
		t.Fatalf("slow: %d %s", status, text)
	}
	for n < ahead {
		next()
	}
}

func TestADemonstrationIsForWhoMayUseTheAdminListenerAndGivesWay(t *testing.T) {
	p := start(t, "", daemon.Options{AdminToken: "sesame"})
	if status, _ := answer(t, http.MethodPost, p.admin+"/demo/start", ""); status != http.StatusUnauthorized {
		t.Errorf("without the token: %d", status)
	}
	url := demonstrate(t, p)
	for path, want := range map[string]int{
		"POST /cut?seconds=0": 400, "POST /cut?seconds=11": 400, "POST /cut?seconds=NaN": 400, "POST /cut?seconds=1&reader=none": 404,
		"POST /slow?on=perhaps": 400, "POST /slow?on=true&reader=none": 404, "GET /none/topics/demo/prices": 404,
		"GET /poll/topics/demo/prices?limit=1": 200, "HEAD /poll/topics/demo/prices": 200, "GET /sse/": 404, "GET /poll/topics/other": 404,
		"POST /poll/topics/demo/prices": 404, "DELETE /poll/topics/demo/prices": 404, "GET /poll/demo/answer": 404, "GET /plain/topics/demo/prices": 404, "GET /sse/demo/live": 404,
		"POST /connect/fairlead.v1.Topics/Publish": 404, "GET /poll/topics/demo%2Fprices/": 404,
	} {
		method, path, _ := strings.Cut(path, " ")
		if status, text := answer(t, method, url+path, "", "Authorization", "Bearer sesame", "Accept", "application/json", "Origin", p.admin); status != want {
			t.Errorf("%s: %d, want %d: %s", path, status, want, text)
		}
	}
	answer(t, http.MethodPost, p.http+"/topics/other", "s3cret", "Content-Type", "text/plain")
	for _, body := range []string{"", "\x00\x00\x00\x00\x02{]", "\x01\x00\x00\x00\x02{}", strings.Repeat(" ", 2000)} {
		if status, text := answer(t, http.MethodPost, url+"/connect/fairlead.v1.Topics/Subscribe", body, "Content-Type", "application/connect+json"); status != http.StatusNotFound {
			t.Errorf("%.10q: %d %s", body, status, text)
		}
	}
	message := `{"topic":"other","after":"earliest"}`
	res := request(t, http.MethodPost, url+"/connect/fairlead.v1.Topics/Subscribe", "\x00\x00\x00\x00"+string(rune(len(message)))+message, "Content-Type", "application/connect+json")
	first := make([]byte, 100)
	if n, err := io.ReadAtLeast(res.Body, first, 50); err != nil || !strings.Contains(string(first[:n]), `"topic":"demo/prices"`) {
		t.Errorf("whoever asks for another topic is given %q, %v", first[:n], err)
	}
	_ = res.Body.Close()
	address := strings.Replace(url, "http", "ws", 1) + "/websocket/topics/demo/prices"
	for i := range 9 {
		c, _, err := websocket.Dial(t.Context(), address, websocket.DialConfig{})
		if (err == nil) != (i < 8) {
			t.Errorf("connection %d: %v", i, err)
		}
		if err == nil {
			defer c.CloseNow()
		}
	}
	for range 8 {
		demonstrate(t, p)
	}
	if status, _ := answer(t, http.MethodGet, url+"/state", ""); status != http.StatusNotFound {
		t.Errorf("the oldest of nine: %d", status)
	}
	other := start(t, "topics: [{match: '**'}]\n", daemon.Options{AdminToken: "sesame"})
	if status, _ := answer(t, http.MethodPost, other.admin+"/demo/start", "", "Authorization", "Bearer sesame"); status != http.StatusNotFound {
		t.Errorf("without the demo: %d", status)
	}
}
