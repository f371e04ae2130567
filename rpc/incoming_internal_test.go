package rpc

import (
	"encoding/binary"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
)

// coming returns the body of a call that has the text.
func coming(kind, text string, all *arrivals) *incoming {
	r := &http.Request{Header: http.Header{"Content-Type": {kind}}, Body: io.NopCloser(strings.NewReader(text))}
	w := httptest.NewRecorder()
	l := &line{ResponseWriter: w, rc: http.NewResponseController(w), patience: time.Hour, reading: time.NewTimer(time.Hour)}
	return newIncoming(r, l, all, false)
}

func framed(size int) string {
	return string(binary.BigEndian.AppendUint32([]byte{0}, uint32(size))) + strings.Repeat("x", size)
}

func FuzzMessagesThatComeInAreCountedUntilTheyAreWhole(f *testing.F) {
	f.Add(framed(3)+framed(0)+framed(100), 7)
	f.Add(framed(3)[:6], 1)
	f.Add(framed(100_000)+framed(70_000), 15)
	f.Add("", 1)
	f.Fuzz(func(t *testing.T, text string, step int) {
		var all arrivals
		b := coming("application/grpc+proto", text, &all)
		for at := 0; at < len(text); {
			n := min(max(1, step&0xfff), len(text)-at)
			b.pass([]byte(text[at : at+n]))
			at += n
			if all.bytes < 0 || all.bytes > int64(at) || b.left == 0 && all.bytes != 0 || (b.own > small) != (all.bytes > 0) {
				t.Fatalf("%d are held after %d, %d to come, %d of its own", all.bytes, at, b.left, b.own)
			}
		}
		if all.release(b); all.bytes != 0 || all.calls.Len() != 0 {
			t.Errorf("%d are held in the end", all.bytes)
		}
	})
}

func TestWhoStallsGivesWayToWhoSends(t *testing.T) {
	t.Parallel()
	var all arrivals
	for _, kind := range []string{"application/grpc", "application/json", "application/connect+proto"} {
		var stalled []*incoming
		for range maxIncoming / (1 << 20) {
			b := coming(kind, "", &all)
			b.pass([]byte(framed(2 << 20)[:1<<20]))
			stalled = append(stalled, b)
		}
		sends := coming(kind, framed(3 << 20)[:1<<20], &all)
		if _, err := io.ReadAll(sends); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		if !stalled[0].evicted.Load() || stalled[len(stalled)-1].evicted.Load() || sends.evicted.Load() {
			t.Errorf("%s: who stalled for the longest is still there", kind)
		}
		if _, err := stalled[0].Read(make([]byte, 1)); connect.CodeOf(err) != connect.CodeUnavailable && connect.CodeOf(err) != connect.CodeResourceExhausted {
			t.Errorf("%s: it is told %v", kind, err)
		}
		for _, b := range stalled {
			all.release(b)
		}
		if all.bytes != 0 || all.calls.Len() != 0 {
			t.Errorf("%s: %d are held", kind, all.bytes)
		}
	}
}
