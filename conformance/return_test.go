package conformance_test

import (
	_ "embed"
	"slices"
	"testing"
	"time"
)

//go:embed testdata/return.html
var returnPage string

func TestBrowsersResumeTheirTLSSessions(t *testing.T) {
	t.Parallel()
	for _, b := range []struct {
		name string
		open func(t *testing.T, url string)
	}{
		{"Chromium", func(t *testing.T, url string) {
			browse(t, url, "--disable-quic", "--ignore-certificate-errors-spki-list="+authority().spki)
		}},
		{"Firefox", func(t *testing.T, url string) { firefox(t, url, `"network.http.http3.enable", false`) }},
	} {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			v := visitedEdge(t, returnPage, "")
			network := cut(t, v.server.https)
			b.open(t, v.at(network.url))
			if got := v.next(); got != (report{Via: "page"}) {
				t.Fatalf("the page reports %+v", got)
			}
			select {
			case <-v.held:
			case <-time.After(patience):
				t.Fatal("the page has not sent the request that is to break")
			}
			before := network.resumed()
			network.cut()
			if got := v.next(); got != (report{Via: "page", Data: "again"}) {
				t.Fatalf("after the break the page reports %+v", got)
			}
			if after := network.resumed()[len(before):]; before[0] || !slices.Contains(after, true) {
				t.Errorf("sessions were resumed: %v before the break, %v after it", before, after)
			}
		})
	}
}

// resumed tells of each connection whether its server took up the session that
// the client offered.
func (c *cutter) resumed() []bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []bool
	for _, h := range c.heads {
		h.mu.Lock()
		all = append(all, takesUpSession(h.bytes))
		h.mu.Unlock()
	}
	return all
}

// takesUpSession reports whether the first record that a server sends is a
// ServerHello with the extension pre_shared_key (RFC 9846, sections 4.1.3 and
// 4.2.11).
func takesUpSession(record []byte) bool {
	const (
		recordHeader = 5
		beforeID     = recordHeader + 4 + 2 + 32 // message header, version, random
		preSharedKey = 41
	)
	if len(record) < beforeID+1 || record[0] != 22 || record[recordHeader] != 2 {
		return false
	}
	at := beforeID + 1 + int(record[beforeID]) + 2 + 1 // session id, cipher suite, compression
	if len(record) < at+2 {
		return false
	}
	end := at + 2 + uint16At(record, at)
	for at += 2; at+4 <= min(end, len(record)); {
		if uint16At(record, at) == preSharedKey {
			return true
		}
		at += 4 + uint16At(record, at+2)
	}
	return false
}

func uint16At(b []byte, at int) int { return int(b[at])<<8 | int(b[at+1]) }
