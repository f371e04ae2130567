package upstream

import (
	"context"
	"io"
	"math"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

func TestTheTimeThatHasGoneByIsTakenFromACallsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			given time.Duration
			waits time.Duration
			want  string
		}{
			{2 * time.Second, 500 * time.Millisecond, "1501m"},
			{time.Millisecond, 0, "2m"},
			{time.Second, 2 * time.Second, "1m"},
			{1000 * time.Hour, 0, "3600001S"},
		} {
			ctx, cancel := context.WithTimeout(t.Context(), c.given)
			in, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://a/b", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			in.Header.Set("Grpc-Timeout", "99S")
			time.Sleep(c.waits)
			out := in.WithContext(ctx)
			shorten(out)
			if got := out.Header.Get("Grpc-Timeout"); got != c.want || in.Header.Get("Grpc-Timeout") != "99S" {
				t.Errorf("%v after %v is %s, want %s", c.given, c.waits, got, c.want)
			}
			cancel()
		}
		in, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://a/b", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		in.Header.Set("Grpc-Timeout", "99S")
		if shorten(in); in.Header.Get("Grpc-Timeout") != "99S" {
			t.Error("a deadline that is not the context's was changed")
		}
	})
}

func TestAKeyLetsWhatIsNoCallBeSentAgain(t *testing.T) {
	for kind, call := range map[string]bool{ // as the room proxy has it
		"application/grpc":                     true,
		"application/grpc+proto":               true,
		"application/grpc+json; charset=utf-8": true,
		"application/grpc-web":                 true,
		"application/grpc-web+proto ;x=1":      true,
		"application/grpc-web-text+proto":      true,
		"application/grpcfoo":                  false,
		"application/grpc-websocket":           false,
		"application/grpc+proto, text/html":    false,
		"application/connect+proto":            false,
		"text/plain":                           false,
	} {
		for _, method := range []string{http.MethodPost, http.MethodPatch} {
			req, err := http.NewRequestWithContext(t.Context(), method, "http://a/", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", kind)
			req.Header.Set("Idempotency-Key", "k")
			want := retryKey
			if call && method == http.MethodPost {
				want = retryNever
			}
			if got := classify(req, evidence{err: io.ErrUnexpectedEOF, wrote: true}); got != want {
				t.Errorf("%s %s: %q, want %q", method, kind, got, want)
			}
		}
	}
}

func TestADeadlineIsHandedOnInEightDigits(t *testing.T) {
	t.Parallel()
	for left, want := range map[time.Duration]string{
		-1:                            "1m",
		1500 * time.Microsecond:       "2m",
		99_999_998 * time.Millisecond: "99999999m",
		99_999_999 * time.Millisecond: "100000S",
		99_999_998 * time.Second:      "99999999S",
		876_000 * time.Hour:           "52560001M",
		math.MaxInt64:                 "2562048H",
	} {
		if got := timeoutOf(left); got != want {
			t.Errorf("%v is %s, want %s", left, got, want)
		}
	}
}
