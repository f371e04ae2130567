package upstream

import (
	"context"
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
