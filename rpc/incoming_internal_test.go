package rpc

import (
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
)

// coming returns the body of a call that has the text.
func coming(kind, text string, held *atomic.Int64) *incoming {
	r := &http.Request{Header: http.Header{"Content-Type": {kind}}, Body: io.NopCloser(strings.NewReader(text))}
	l := &line{patience: time.Hour, reading: time.NewTimer(time.Hour)}
	return newIncoming(r, l, held)
}

func framed(size int) string {
	return string(binary.BigEndian.AppendUint32([]byte{0}, uint32(size))) + strings.Repeat("x", size)
}

func FuzzMessagesThatComeInAreCountedUntilTheyAreWhole(f *testing.F) {
	f.Add(framed(3)+framed(0)+framed(100), 7)
	f.Add(framed(3)[:6], 1)
	f.Add("", 1)
	f.Fuzz(func(t *testing.T, text string, step int) {
		var held atomic.Int64
		b := coming("application/grpc+proto", text, &held)
		for at := 0; at < len(text); {
			n := min(max(1, step&15), len(text)-at)
			b.pass([]byte(text[at : at+n]))
			at += n
			if h := held.Load(); h < 0 || h > int64(at) || h != b.own || b.left == 0 && h != 0 {
				t.Fatalf("%d are held after %d, %d to come", h, at, b.left)
			}
		}
		b.release()
		if held.Load() != 0 {
			t.Errorf("%d are held in the end", held.Load())
		}
	})
}

func TestNoMoreComesInThanAllCallsMayHold(t *testing.T) {
	t.Parallel()
	for kind, text := range map[string]string{"application/grpc": framed(1 << 20)[:1<<19], "application/json": strings.Repeat("x", 1<<19), "application/connect+proto": framed(1 << 20)[:1<<19]} {
		var held atomic.Int64
		held.Store(maxIncoming - 1<<18)
		_, err := io.ReadAll(coming(kind, text, &held))
		if status, ok := errors.AsType[*connect.Error](err); !ok || status.Code() != connect.CodeResourceExhausted && status.Code() != connect.CodeUnavailable {
			t.Errorf("%s: %v", kind, err)
		}
		if left := held.Load(); left != maxIncoming-1<<18 {
			t.Errorf("%s: %d are held", kind, left)
		}
		held.Store(0)
		if n, err := io.ReadAll(coming(kind, text, &held)); err != nil || len(n) != len(text) || held.Load() != 0 {
			t.Errorf("%s: %v, %d are held", kind, err, held.Load())
		}
	}
}
