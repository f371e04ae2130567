package proxy

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestADeadlineIsReadAsGRPCWritesIt(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"1H": time.Hour, "2M": 2 * time.Minute, "30S": 30 * time.Second, "250m": 250 * time.Millisecond, "7u": 7 * time.Microsecond,
		"99999999n": 99_999_999, "0m": 0, "99999999H": 1 << 62,
	} {
		if got, ok := parseTimeout(text); got != want || !ok {
			t.Errorf("%s is read as %v, %v", text, got, ok)
		}
	}
	for _, bad := range []string{"", "S", "1", "1s", "-1S", "+1S", "123456789S", "1.5S", " 1S", "1 S", "1_0S"} {
		if got, ok := parseTimeout(bad); ok {
			t.Errorf("%q is read as %v", bad, got)
		}
	}
}

func FuzzParseTimeout(f *testing.F) {
	for _, seed := range []string{"1H", "99999999n", "-1S", "\x00m"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if d, ok := parseTimeout(text); d < 0 || !ok && d != 0 {
			t.Errorf("%q is read as %v, %v", text, d, ok)
		}
	})
}

func TestAMessageIsPercentEncoded(t *testing.T) {
	const message = "100 % of ünread\r\nlines~"
	got := encodeMessage(message)
	if got != "100 %25 of %C3%BCnread%0D%0Alines~" {
		t.Errorf("%q", got)
	}
	if back, err := url.PathUnescape(got); err != nil || back != message || strings.ContainsAny(got, "\r\n") {
		t.Errorf("%q, %v", back, err)
	}
}

func TestTheResetThatCountsIsThatOfTheLastAttempt(t *testing.T) {
	refused, internal, broken := streamError{Code: 7}, streamError{Code: 2}, errors.New("broken")
	for _, c := range []struct {
		err  error
		want int // the status; 0: no reset
	}{
		{fmt.Errorf("a: %w", internal), 13},
		{fmt.Errorf("proxy: %w", errors.Join(refused, fmt.Errorf("b: %w", internal))), 13},
		{errors.Join(internal, refused), 14},
		{errors.Join(refused, broken), 0},
		{broken, 0},
	} {
		got := 0
		if reset := resetOf(c.err); reset != nil {
			got = reset.grpc()
		}
		if got != c.want {
			t.Errorf("%q: status %d, want %d", c.err, got, c.want)
		}
	}
}

func FuzzCallType(f *testing.F) {
	for _, seed := range []string{"application/grpc", "application/grpc-web-text+proto;a=b", "application/grpc+x y", "text/html"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		got := callType(&http.Request{Method: http.MethodPost, Header: http.Header{"Content-Type": {value}}})
		if !strings.HasPrefix(value, got) || got != "" && !strings.HasPrefix(got, grpcType) || strings.ContainsAny(got, ";, \t") {
			t.Errorf("%q is read as %q", value, got)
		}
	})
}
