package daemon

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead/topic"
)

func TestAPageThatIsNotReadIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		took := make(chan time.Duration, 2)
		_, conn := serveInMemory(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			from := time.Now()
			bounded(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, strings.Repeat("x", 10_000))
			})).ServeHTTP(w, r)
			took <- time.Since(from)
		}))
		from := bufio.NewReader(conn)
		for range 2 { // the deadline of the first is not the second's
			_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			time.Sleep(pageTime - time.Second)
			res, err := http.ReadResponse(from, nil)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := io.Copy(io.Discard, res.Body); n != 10_000 || err != nil {
				t.Errorf("%d bytes, %v", n, err)
			}
			if d := <-took; d != pageTime-time.Second {
				t.Errorf("it took %v", d)
			}
		}
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if d := <-took; d != pageTime {
			t.Errorf("who does not read was waited for %v", d)
		}
	})
}

func TestTheFirstTopicsAreThoseByName(t *testing.T) {
	t.Parallel()
	store := topic.NewStore(topic.StoreConfig{})
	for i := range 1000 {
		for _, kind := range []string{"a", "b"} {
			if _, err := store.Open(fmt.Sprintf("%s/%03d", kind, i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, limit := range []int{1, 10, 999, 1000, 5000} {
		logs := firstTopics(store.All(), "b/", limit)
		if len(logs) != min(limit, 1000) {
			t.Fatalf("%d of %d", len(logs), limit)
		}
		for i, l := range logs {
			if want := fmt.Sprintf("b/%03d", i); l.Name() != want {
				t.Fatalf("of %d: %s at the place of %s", limit, l.Name(), want)
			}
		}
	}
}
