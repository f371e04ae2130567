package conformance_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// window is how much a client takes of a connection, and of a stream, before
// it has read any: little, so that the server's answers wait for their turn.
const window = 64 << 10

func TestAnUrgentAnswerOvertakesTwentyOthersOnAFullConnection(t *testing.T) {
	t.Parallel()
	answer := strings.Repeat("0123456789abcdef", 16<<10) // 256 KiB, the same for all
	arrived := map[string]chan struct{}{}
	for _, p := range protocols {
		arrived["/"+p.name] = make(chan struct{}, 32)
	}
	s := edge(t, proxied(upstream(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived[r.URL.Path] <- struct{}{}
		w.Header().Set("Content-Type", "application/octet-stream")
		fmt.Fprint(w, answer)
	}))))
	each(t, []protocol{h2, h2c, h3}, func(t *testing.T, p protocol) {
		c := &http.Client{Transport: p.narrow(t, authority().tls())}
		whole(t, p.get(t.Context(), t, c, p.base(s)+"/"+p.name).Body) // the connection of all that follow
		<-arrived["/"+p.name]
		read := make(chan struct{})
		var mu sync.Mutex
		var order []string
		var asking sync.WaitGroup
		ask := func(priority string) {
			asking.Go(func() {
				res := p.get(t.Context(), t, c, p.base(s)+"/"+p.name, "Priority", priority)
				<-read
				n, err := io.Copy(io.Discard, res.Body)
				mu.Lock()
				defer mu.Unlock()
				order = append(order, priority)
				if err != nil || n != int64(len(answer)) {
					t.Errorf("an answer of %s ended after %d bytes: %v", priority, n, err)
				}
			})
			<-arrived["/"+p.name]
		}
		for range 20 {
			ask("u=5")
		}
		ask("u=0")
		// Until here only a window's worth has come. Answers that were asked for
		// later have arrived elsewhere, so this one waits for its turn.
		elsewhere := h1.client(t, authority().tls())
		for range 5 {
			whole(t, h1.get(t.Context(), t, elsewhere, s.https+"/"+p.name).Body)
		}
		close(read)
		asking.Wait()
		// The one that is being written when the urgent one comes may end before.
		const ahead = 1
		if at := slices.Index(order, "u=0"); at < 0 || at > ahead {
			t.Errorf("the answers ended in the order %q, want that of u=0 before all but %d", order, ahead)
		}
	})
}

// narrow returns a client of the protocol whose windows are small.
func (p protocol) narrow(t *testing.T, conf *tls.Config) http.RoundTripper {
	t.Helper()
	if p == h3 {
		transport := &http3.Transport{TLSClientConfig: conf, QUICConfig: &quic.Config{
			InitialStreamReceiveWindow: window, MaxStreamReceiveWindow: window,
			InitialConnectionReceiveWindow: window, MaxConnectionReceiveWindow: window,
		}}
		t.Cleanup(func() { _ = transport.Close() })
		return transport
	}
	transport := &http.Transport{TLSClientConfig: conf, Protocols: new(http.Protocols), HTTP2: &http.HTTP2Config{
		MaxReceiveBufferPerConnection: window, MaxReceiveBufferPerStream: window,
	}}
	transport.Protocols.SetHTTP2(p == h2)
	transport.Protocols.SetUnencryptedHTTP2(p == h2c)
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}
