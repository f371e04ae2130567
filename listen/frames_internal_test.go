package listen

import (
	"bytes"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// FuzzFrames sends frames, in two parts and in one.
func FuzzFrames(f *testing.F) {
	var b bytes.Buffer
	w := http2.NewFramer(&b, nil)
	for range 3 {
		_ = w.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1}) // to a buffer, as all
		_ = w.WritePing(false, [8]byte{})
		_ = w.WriteData(1, false, make([]byte, 300))
		_ = w.WriteRSTStream(1, http2.ErrCodeCancel)
	}
	f.Add(b.Bytes(), uint(20))
	f.Add([]byte{0xff, 0xff, 0xff, 0}, uint(2))
	f.Fuzz(func(t *testing.T, p []byte, at uint) {
		now := time.Now()
		at = min(at, uint(len(p)))
		whole, parts := newFrames(new(Limits), false), newFrames(new(Limits), false)
		one := whole.pass(p, now)
		two := parts.pass(p[:at], now) && parts.pass(p[at:], now)
		if one != two || one && (whole.have != parts.have || whole.skip != parts.skip) {
			t.Errorf("%v and %v: %+v, %+v", one, two, whole, parts)
		}
	})
}

func TestFramesThatCarryNothingCount(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	w := http2.NewFramer(&b, nil)
	w.AllowIllegalWrites = true
	for _, c := range []struct {
		name  string
		write func() error
		want  int // frames of it that pass
	}{
		{"PING", func() error { return w.WritePing(false, [8]byte{}) }, 250},
		{"empty DATA", func() error { return w.WriteData(1, false, nil) }, 250},
		{"empty CONTINUATION", func() error { return w.WriteContinuation(1, false, nil) }, 250},
		{"RST_STREAM", func() error { return w.WriteRSTStream(1, http2.ErrCodeCancel) }, 250},
		{"RST_STREAM with NO_ERROR", func() error { return w.WriteRSTStream(1, http2.ErrCodeNo) }, 250},
		{"WINDOW_UPDATE", func() error { return w.WriteWindowUpdate(1, 1) }, 4000},
		{"DATA", func() error { return w.WriteData(1, false, []byte("x")) }, 9999},
		{"DATA that ends", func() error { return w.WriteData(1, true, nil) }, 9999},
		{"HEADERS", func() error { return w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true}) }, 9999},
	} {
		b.Reset()
		_ = c.write() // to a buffer
		f, now, passed := newFrames(&Limits{Streams: 250}, false), time.Now(), 0
		f.left.at = now
		for passed < 9999 && f.pass(b.Bytes(), now) {
			passed++
		}
		if passed != c.want {
			t.Errorf("%s: %d pass, not %d", c.name, passed, c.want)
		}
	}
}
