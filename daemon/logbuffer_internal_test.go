package daemon

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestRecordsOfRequestsWaitForEachOtherAndKeepTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var file bytes.Buffer
		b := &logBuffer{to: &file}
		later := b.later()
		write := func(to interface{ Write(p []byte) (int, error) }, text string) {
			t.Helper()
			if n, err := to.Write([]byte(text)); n != len(text) || err != nil {
				t.Fatalf("Write(%q) = %d, %v", text, n, err)
			}
		}
		want := func(text string) {
			t.Helper()
			synctest.Wait()
			b.mu.Lock()
			defer b.mu.Unlock()
			if file.String() != text {
				t.Errorf("the file has %q, want %q", file.String(), text)
			}
			file.Reset()
		}
		for range 2 { // the second time with a timer that has run
			write(later, "1")
			time.Sleep(logDelay - 1)
			write(later, "2")
			want("")
			time.Sleep(time.Nanosecond)
			want("12")
		}
		write(later, "3")
		write(b, "4")
		want("34")
		time.Sleep(logDelay)
		want("")

		long := strings.Repeat("x", maxLogHeld)
		write(later, "5")
		write(later, long)
		want("5")
		write(later, long+"6")
		want(long + long + "6")

		write(later, "7")
		b.close()
		want("7")
		write(later, "8")
		want("8")
	})
}
