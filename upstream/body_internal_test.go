package upstream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// fedBody is a source whose Reads wait until they are fed.
type fedBody struct {
	data   []byte
	end    error
	fed    chan int // how many bytes a Read may bring
	done   chan struct{}
	inside atomic.Int32
	clash  atomic.Bool // two Reads at once
	closes atomic.Int32
}

func newFedBody(data []byte, end error) *fedBody {
	return &fedBody{data: data, end: end, fed: make(chan int), done: make(chan struct{})}
}

func (f *fedBody) Read(p []byte) (int, error) {
	if f.inside.Add(1) > 1 {
		f.clash.Store(true)
	}
	defer f.inside.Add(-1)
	select {
	case n := <-f.fed:
		n = copy(p[:min(n, len(p))], f.data)
		f.data = f.data[n:]
		if len(f.data) == 0 {
			return n, f.end
		}
		return n, nil
	case <-f.done:
		return 0, io.ErrClosedPipe
	}
}

func (f *fedBody) Close() error {
	if f.closes.Add(1) == 1 {
		close(f.done)
	}
	return nil
}

// feed lets the Read that waits, if any, bring up to n bytes.
func (f *fedBody) feed(n int) {
	synctest.Wait()
	select {
	case f.fed <- n:
		synctest.Wait()
	default:
	}
}

func replayOf(body io.ReadCloser, length int64, keep int) *replay {
	return newReplay(&http.Request{Body: body, ContentLength: length}, keep)
}

// reader is an attempt of the model: what its Reads, one at a time, brought.
type reader struct {
	io.ReadCloser

	reading atomic.Bool
	got     []byte
	err     error
}

func (r *reader) read(wg *sync.WaitGroup, n int) {
	if r.reading.Swap(true) {
		return
	}
	wg.Go(func() {
		p := make([]byte, n)
		n, err := r.Read(p)
		r.got, r.err = append(r.got, p[:n]...), err
		r.reading.Store(false)
	})
}

func TestAnyInterleavingGivesEachAttemptTheBodyFromItsFirstByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rapid.Check(struct{ testing.TB }{t}, interleave) // a bubble's T has no deadline to ask for
	})
}

func interleave(t *rapid.T) {
	data := rapid.SliceOfN(rapid.Byte(), 1, 24).Draw(t, "data")
	end := rapid.SampledFrom([]error{io.EOF, errors.New("the client left")}).Draw(t, "end")
	length := rapid.SampledFrom([]int64{-1, int64(len(data))}).Draw(t, "length")
	keep := rapid.IntRange(-1, 32).Draw(t, "keep")
	source := newFedBody(bytes.Clone(data), end)
	b := replayOf(source, length, keep)
	var wg sync.WaitGroup
	var readers []*reader
	t.Cleanup(func() {
		_ = source.Close() // once more: of a failed run, too, no Read may remain
		wg.Wait()
	})
	begin := func(*rapid.T) {
		if b.again() {
			readers = append(readers, &reader{ReadCloser: b.attempt(nil)})
		}
	}
	begin(t)
	size := rapid.IntRange(1, 12)
	which := func(t *rapid.T) *reader { return rapid.SampledFrom(readers).Draw(t, "reader") }
	t.Repeat(map[string]func(*rapid.T){
		"begin": begin,
		"read":  func(t *rapid.T) { which(t).read(&wg, size.Draw(t, "read")) },
		"feed":  func(t *rapid.T) { source.feed(size.Draw(t, "feed")) },
		"close": func(t *rapid.T) { _ = which(t).Close() },
		"": func(t *rapid.T) {
			synctest.Wait()
			for i, r := range readers {
				if !bytes.HasPrefix(data, r.got) {
					t.Fatalf("attempt %d read %v of %v", i, r.got, data)
				}
			}
			if max(keep, 0) < len(b.record) || source.closes.Load() != 0 || source.clash.Load() {
				t.Fatalf("holds %d of %d bytes, closed %d times, read by two: %v", len(b.record), keep, source.closes.Load(), source.clash.Load())
			}
		},
	})
	if b.again() { // that a further attempt can have it all is now a promise
		last := &reader{ReadCloser: b.attempt(nil)}
		readers = append(readers, last)
		b.settle()
		for last.err == nil {
			last.read(&wg, 8)
			source.feed(8)
		}
		if !bytes.Equal(last.got, data) || !errors.Is(last.err, end) {
			t.Fatalf("the last attempt got %v, %v of %v", last.got, last.err, data)
		}
	} else {
		b.settle()
	}
	for _, r := range readers {
		_ = r.Close()
	}
	wg.Wait() // the end of the source releases every Read
	synctest.Wait()
	if n := source.closes.Load(); n != 1 {
		t.Fatalf("the source was closed %d times", n)
	}
}

func TestWhatAStuckReadOfAnOldAttemptBringsGoesToTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newFedBody([]byte("hello, world"), io.EOF)
		b := replayOf(source, -1, 64)
		var wg sync.WaitGroup
		old := &reader{ReadCloser: b.attempt(nil)}
		old.read(&wg, 64)
		source.feed(5)
		old.read(&wg, 64) // and now the client pauses
		synctest.Wait()
		if !b.again() {
			t.Fatal("a body of which nothing is lost cannot be sent again")
		}
		next := &reader{ReadCloser: b.attempt(nil)}
		_ = old.Close()
		b.settle()
		for range 3 {
			next.read(&wg, 64)
			source.feed(64)
		}
		if string(old.got) != "hello" || old.err != errBodyOver || string(next.got) != "hello, world" || next.err != io.EOF {
			t.Errorf("the old attempt has %q, %v; the next %q, %v", old.got, old.err, next.got, next.err)
		}
		_ = next.Close()
		wg.Wait()
	})
}

// lockedBody is closed as the body of a server's request is: not during a Read.
type lockedBody struct {
	mu sync.Mutex
	*fedBody
}

func (l *lockedBody) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fedBody.Read(p)
}

func (l *lockedBody) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fedBody.Close()
}

func TestSettlingDoesNotWaitForAReadThatIsStuck(t *testing.T) {
	source := newFedBody([]byte("x"), io.EOF)
	b := replayOf(&lockedBody{fedBody: source}, -1, 64)
	var wg sync.WaitGroup
	old := &reader{ReadCloser: b.attempt(nil)}
	old.read(&wg, 1)
	for source.inside.Load() == 0 {
		runtime.Gosched()
	}
	_ = b.attempt(nil).Close()
	b.settle()
	source.fed <- 1
	<-source.done // closed after that Read
	wg.Wait()
}

func TestABodyThatIsTooLongIsSentAgainOnlyWhileUntouched(t *testing.T) {
	for _, c := range []struct {
		length     int64
		keep, read int
		want       bool
	}{
		{10, 10, 10, true}, {10, 9, 0, true}, {10, 9, 1, false}, {-1, 10, 10, true}, {-1, 9, 9, true},
		{-1, 9, 10, false}, {10, -1, 0, true}, {10, -1, 1, false}, {0, 10, 10, true},
	} {
		t.Run(fmt.Sprintf("%d of %d read, %d kept", c.read, c.length, c.keep), func(t *testing.T) {
			b := replayOf(io.NopCloser(strings.NewReader("0123456789")), c.length, c.keep)
			first := b.attempt(nil)
			if _, err := io.ReadFull(first, make([]byte, c.read)); err != nil {
				t.Fatal(err)
			}
			if got := b.again(); got != c.want {
				t.Fatalf("again is %v", got)
			}
			all, err := io.ReadAll(b.attempt(nil))
			if c.want && (err != nil || string(all) != "0123456789") || !c.want && err != errBodyLost {
				t.Errorf("then %q, %v", all, err)
			}
		})
	}
}

func TestABodyOfKnownLengthIsKeptInJustThatMuchMemoryUntilItIsSettled(t *testing.T) {
	b := replayOf(io.NopCloser(iotest.OneByteReader(strings.NewReader("0123456789"))), 10, 1<<20)
	a := b.attempt(nil)
	if cap(b.record) != 0 {
		t.Errorf("%d bytes before the first read", cap(b.record))
	}
	if _, err := io.ReadAll(a); err != nil || cap(b.record) != 10 {
		t.Errorf("%d bytes for ten, %v", cap(b.record), err)
	}
	b.settle()
	if b.record != nil {
		t.Error("kept although there is no further attempt")
	}
}

func TestABodyThatFailedIsNotSentAgainAndBlamesNobodyElse(t *testing.T) {
	b := replayOf(io.NopCloser(iotest.ErrReader(io.ErrUnexpectedEOF)), -1, 64)
	_, err := b.attempt(nil).Read(make([]byte, 1))
	if !errors.Is(err, io.ErrUnexpectedEOF) || b.again() {
		t.Errorf("error %v, again %v", err, b.again())
	}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://a/", nil)
	if class := classify(req, evidence{err: err}); class != retryNever {
		t.Errorf("classified as %q", class)
	}
}

func TestATrailerIsNotFilledInUnderTheEyesOfTheNextAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newFedBody([]byte("x"), io.EOF)
		b := newReplay(&http.Request{Body: source, ContentLength: -1, Trailer: http.Header{"Sum": nil}}, 64)
		var wg sync.WaitGroup
		a := &reader{ReadCloser: b.attempt(nil)}
		a.read(&wg, 1)
		synctest.Wait()
		if b.again() {
			t.Error("sent again during a Read that may bring the trailer")
		}
		source.feed(1)
		if !b.again() {
			t.Error("not sent again after it")
		}
		b.settle()
		wg.Wait()
	})
}

func TestNoBodyIsSentAgainAlways(t *testing.T) {
	for _, body := range []io.ReadCloser{nil, http.NoBody} {
		b := replayOf(body, 0, 64)
		if b != nil || b.attempt(nil) != nil || !b.again() {
			t.Errorf("%v is a body", body)
		}
		b.settle()
	}
}

// rest is the rest of a response; it waits for at most the deadline.
type rest struct {
	io.Reader

	stall    bool // at its end
	slow     time.Duration
	deadline time.Time
	sets     int
}

func (r *rest) setReadDeadline(d time.Time) error {
	r.deadline, r.sets = d, r.sets+1
	return nil
}

func (r *rest) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err == nil {
		return n, nil
	}
	if r.stall {
		time.Sleep(time.Until(r.deadline))
		return 0, errors.New("i/o timeout")
	}
	time.Sleep(r.slow)
	return n, err
}

func TestAShortRestOfAResponseIsReadForTheConnectionsSake(t *testing.T) {
	for _, c := range []struct {
		name string
		rest rest
		size int
		want bool
		took time.Duration
	}{
		{"nothing", rest{}, 0, true, 0},
		{"just 64 KiB", rest{}, drainBytes, true, 0},
		{"more", rest{}, drainBytes + 1, false, 0},
		{"a stream", rest{stall: true}, 10, false, drainTime},
		{"the end came with the deadline", rest{slow: drainTime}, 10, false, drainTime},
		{"the end came before it", rest{slow: drainTime - 1}, 10, true, drainTime - 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			c.rest.Reader = strings.NewReader(strings.Repeat("x", c.size))
			got := drainRest(&c.rest, c.rest.setReadDeadline)
			if took := time.Since(start); got != c.want || took != c.took {
				t.Errorf("%s: %v after %v", c.name, got, took)
			}
			if !c.rest.deadline.IsZero() || c.rest.sets != 2 {
				t.Errorf("%s: the deadline remained", c.name)
			}
		})
	}
	if drainRest(strings.NewReader("x"), func(time.Time) error { return errors.New("closed") }) {
		t.Error("read without a deadline")
	}
}
