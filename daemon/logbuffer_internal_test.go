package daemon

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// logFile keeps what is written to it, and takes nothing while it is blocked.
type logFile struct {
	mu      sync.Mutex
	text    bytes.Buffer
	blocked chan struct{} // closed: not any more; nil: it is not
}

func (f *logFile) Write(p []byte) (int, error) {
	if f.blocked != nil {
		<-f.blocked
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.text.Write(p)
}

// take returns what was written since the last take.
func (f *logFile) take() string {
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	defer f.text.Reset()
	return f.text.String()
}

func TestRecordsOfRequestsWaitForEachOtherAndKeepTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &logFile{}
		b := newLogBuffer(f)
		write := func(to interface{ Write(p []byte) (int, error) }, text string) {
			t.Helper()
			if n, err := to.Write([]byte(text)); n != len(text) || err != nil {
				t.Fatalf("Write(%q) = %d, %v", text, n, err)
			}
		}
		want := func(text string) {
			t.Helper()
			if got := f.take(); got != text {
				t.Errorf("the file has %.40q, want %.40q", got, text)
			}
		}
		for range 2 {
			write(b.later(), "1")
			time.Sleep(logDelay - 1)
			write(b.later(), "2")
			want("")
			time.Sleep(time.Nanosecond)
			want("12")
		}
		time.Sleep(2 * logDelay)
		write(b.later(), "3")
		write(b, "4")
		want("34")
		long := strings.Repeat("x", fullLog)
		write(b.later(), long)
		want(long)
		write(b.later(), strings.Repeat("x", maxRecord+1))
		time.Sleep(logDelay)
		want(`{"level":"WARN","msg":"a record of the log was too long to be kept","bytes":65537}` + "\n")
		write(b.later(), "5")
		b.close()
		want("5")
	})
}

func TestALogThatNobodyTakesHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &logFile{blocked: make(chan struct{})}
		b := newLogBuffer(f)
		record := []byte(strings.Repeat("x", 1<<10))
		for range 3 * maxLogHeld / len(record) {
			_, _ = b.Write(record)
			_, _ = b.later().Write(record)
		}
		b.close() // it waits for a second
		close(f.blocked)
		got := f.take()
		if n := strings.Count(got, "x"); n < maxLogHeld/2 || n > 2*maxLogHeld || !strings.Contains(got, "records of the log were dropped") {
			t.Errorf("%d bytes were written, and last %q", n, got[max(0, len(got)-100):])
		}
	})
}
