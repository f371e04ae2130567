package daemon

import (
	"bytes"
	"log/slog"
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
		want(`{"time":"` + time.Now().Add(-logDelay).Format(time.RFC3339Nano) + `","level":"WARN","msg":"a record of the log was too long to be kept","bytes":65537}` + "\n")
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

func TestWhatTheLogSaysOfItselfIsInTheFormatOfTheRest(t *testing.T) {
	for format, start := range map[string]string{"text": "time=", "json": `{"time":"`, "auto": `{"time":"`} {
		synctest.Test(t, func(t *testing.T) {
			f := &logFile{blocked: make(chan struct{})}
			b := newLogBuffer(f)
			log, _ := newLoggers(b, Log{Format: format, Level: "error"}, new(slog.LevelVar))
			log.Error(strings.Repeat("x", maxRecord))
			for range 2 * maxLogHeld / maxRecord {
				log.Error(strings.Repeat("x", maxRecord/2))
				log.Error(strings.Repeat("y", maxRecord/2))
			}
			close(f.blocked)
			b.close()
			told := 0
			for line := range strings.Lines(f.take()) {
				if !strings.HasPrefix(line, start) {
					t.Errorf("%s: %.100s", format, line)
				}
				if strings.Contains(line, "too long to be kept") || strings.Contains(line, "were dropped") {
					told++
				}
			}
			if told != 2 {
				t.Errorf("%s: %d records of the log itself", format, told)
			}
		})
	}
}
