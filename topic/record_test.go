package topic_test

import (
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/topic"
)

func TestAFrameIsEncodedOnceForAllReaders(t *testing.T) {
	t.Parallel()
	l := topic.New("n", topic.Policy{})
	publish(t, l, "a")
	var frames [3][]byte
	calls := 0
	for i := range frames {
		frames[i] = drain(read(t, l, fairlead.Earliest))[0].Record.Frame(1, func(e *fairlead.Event) []byte {
			calls++
			return append([]byte("frame of "), e.Data...)
		})
	}
	if calls != 1 || string(frames[2]) != "frame of a" || &frames[0][0] != &frames[2][0] {
		t.Errorf("encoded %d times, as %q", calls, frames)
	}
	other := drain(read(t, l, fairlead.Earliest))[0].Record.Frame(topic.MaxFormats-1, func(*fairlead.Event) []byte { return nil })
	if other != nil {
		t.Errorf("another format is %q", other)
	}
}

// appendOf appends an event that counts for size bytes.
func appendOf(t *testing.T, l *topic.Log, size int) {
	t.Helper()
	b := topic.Batch{Events: []fairlead.Event{{Data: make([]byte, size-topic.RecordOverhead)}}}
	if _, err := l.Append(t.Context(), b); err != nil {
		t.Fatal(err)
	}
}

// encodes asks for a frame of each record twice and says how often that
// encoded it, oldest first: 1 of a warm record at first, then 0; 2 of a cold one.
func encodes(t *testing.T, l *topic.Log) string {
	t.Helper()
	var counts []string
	for _, item := range drain(read(t, l, fairlead.Earliest)) {
		n := 0
		for range 2 {
			frame := item.Record.Frame(2, func(e *fairlead.Event) []byte { n++; return []byte(e.Cursor) })
			if string(frame) != string(item.Cursor) {
				t.Errorf("the frame of %s is %q", item.Cursor, frame)
			}
		}
		counts = append(counts, strconv.Itoa(n))
	}
	return strings.Join(counts, "")
}

func TestOnlyTheNewestEventsKeepTheirFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const each = 256 << 10 // four of them are 1 MiB
		l := topic.New("n", topic.Policy{Bytes: 10 * each, Age: time.Minute})
		expect := func(counts string) {
			t.Helper()
			if got := encodes(t, l); got != counts {
				t.Errorf("encoded %q, want %q", got, counts)
			}
		}
		for range 4 {
			appendOf(t, l, each)
		}
		expect("1111")
		expect("0000")
		for range 3 {
			appendOf(t, l, each)
		}
		expect("2220111")
		appendOf(t, l, each-1)
		appendOf(t, l, each+1)
		expect("222220011")
		appendOf(t, l, 7*each) // alone larger than the part that is warm; evicts six
		expect("2221")
		expect("2220")
		appendOf(t, l, each)
		expect("2221")
		time.Sleep(time.Minute)
		expect("")
		appendOf(t, l, each)
		expect("1")
	})
}

func TestALargerRetentionKeepsAnEighthOfItsFrames(t *testing.T) {
	t.Parallel()
	const each = 1 << 20
	s := topic.NewStore(topic.StoreConfig{Policy: func(string) topic.Policy { return topic.Policy{Bytes: 16 * each} }})
	l, err := s.Open("n")
	if err != nil {
		t.Fatal(err)
	}
	for range 4 {
		appendOf(t, l, each)
	}
	if got := encodes(t, l); got != "2211" {
		t.Errorf("encoded %q of 16 MiB", got)
	}
	s.Reload(func(string) topic.Policy { return topic.Policy{Bytes: 8 * each} })
	if got := encodes(t, l); got != "2220" {
		t.Errorf("encoded %q of 8 MiB", got)
	}
}

func TestFramesOfEventsThatBecomeColdAreRight(t *testing.T) {
	t.Parallel()
	l := topic.New("n", topic.Policy{Bytes: 4 << 20})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() { // from the start: warm, cold and becoming so
			r := topic.NewReader()
			defer r.Close()
			if err := r.Add(l, fairlead.Earliest); err != nil {
				t.Error(err)
				return
			}
			for buf := make([]topic.Item, 8); ; {
				n, err := r.Next(t.Context(), buf)
				if err != nil {
					t.Error(err)
					return
				}
				for _, item := range buf[:n] {
					if item.Kind == topic.KindEnd {
						return
					}
					frame := item.Record.Frame(0, func(e *fairlead.Event) []byte { return []byte(e.Cursor) })
					if string(frame) != string(item.Record.Event.Cursor) {
						t.Errorf("the frame of %s is %q", item.Cursor, frame)
					}
				}
			}
		})
	}
	for range 60 {
		appendOf(t, l, 64<<10)
	}
	l.Close()
	readers.Wait()
}
