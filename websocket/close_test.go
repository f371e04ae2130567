package websocket_test

import (
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/gobwas/ws"

	"github.com/fairlead-edge/fairlead/websocket"
)

func TestCodesThatMayStandOnTheWire(t *testing.T) {
	t.Parallel()
	for code := range 6000 {
		want := code >= 1000 && code <= 1003 || code >= 1007 && code <= 1014 || code >= 3000 && code <= 4999
		if websocket.ValidCloseCode(code) != want {
			t.Errorf("ValidCloseCode(%d) = %v", code, !want)
		}
	}
}

func TestAPeersCloseIsEchoedAndReturned(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		body, echo string
		want       websocket.CloseError
	}{
		{"", "", websocket.CloseError{Code: 1005}},
		{closeBody(1000, "bye"), closeBody(1000, ""), websocket.CloseError{Code: 1000, Reason: "bye"}},
		{closeBody(1012, "restart"), closeBody(1012, ""), websocket.CloseError{Code: 1012, Reason: "restart"}},
		{closeBody(1014, ""), closeBody(1014, ""), websocket.CloseError{Code: 1014}},
		{closeBody(4999, ""), closeBody(4999, ""), websocket.CloseError{Code: 4999}},
	} {
		ours, theirs := pipe(roomy)
		conn := websocket.New(ours, websocket.Server, websocket.Config{})
		_, _ = theirs.Write(masked(ws.OpClose, true, c.body))
		_, _, err := conn.Read()
		if got, ok := errors.AsType[*websocket.CloseError](err); !ok || *got != c.want {
			t.Errorf("Read: %v, want %+v", err, c.want)
		}
		if f := nextFrame(t, theirs); f.Header.OpCode != ws.OpClose || string(f.Payload) != c.echo {
			t.Errorf("echo %q, want %q", f.Payload, c.echo)
		}
		if _, err := readFrame(theirs); err == nil {
			t.Error("the stream stayed open")
		}
		if err := conn.Write(websocket.Text, nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Write: %v", err)
		}
		if err := conn.Close(websocket.NormalClosure, ""); err != nil {
			t.Errorf("Close after the peer's: %v", err)
		}
	}
}

func TestBothEndsCloseAtOnce(t *testing.T) {
	t.Parallel()
	for range 20 {
		a, b := pipe(roomy)
		var wg sync.WaitGroup
		for side, e := range []*end{a, b} {
			c := websocket.New(e, websocket.Side(side), websocket.Config{})
			wg.Go(func() {
				for {
					if _, _, err := c.Read(); err != nil {
						return
					}
				}
			})
			for range 2 {
				wg.Go(func() {
					if err := c.Close(websocket.GoingAway, "me first"); err != nil {
						t.Error(err)
					}
				})
			}
		}
		wg.Wait()
	}
}

func TestCloseWaitsForThePeerThroughWhatItStillSends(t *testing.T) {
	t.Parallel()
	ours, theirs := pipe(roomy)
	c := websocket.New(ours, websocket.Client, websocket.Config{})
	_, _ = theirs.Write(join(plain(ws.OpText, false, "half"), plain(ws.OpPing, true, "?"), plain(ws.OpContinuation, true, "")))
	told := make(chan int, 1)
	go func() { told <- finish(theirs, ws.StateServerSide) }()
	if err := c.Close(4000, "done"); err != nil {
		t.Error(err)
	}
	if got := <-told; got != 4000 {
		t.Errorf("the peer was told %d", got)
	}
	if _, _, err := c.Read(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Read: %v", err)
	}
}

func TestCloseGivesUpOnAPeerThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	for _, room := range []int{roomy, 1} { // one that takes the close frame, one that does not
		synctest.Test(t, func(t *testing.T) {
			ours, _ := pipe(room)
			c := websocket.New(ours, websocket.Server, websocket.Config{CloseTimeout: 3 * time.Second})
			began := time.Now()
			err := c.Close(websocket.GoingAway, "")
			if took := time.Since(began); took != 3*time.Second {
				t.Errorf("Close took %v", took)
			}
			if (err == nil) != (room == roomy) {
				t.Errorf("room %d: Close: %v", room, err)
			}
		})
	}
}

func TestWhatAPeerStillSendsThatBrokeARuleIsReadSlowly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := pipe(roomy)
		c := websocket.New(ours, websocket.Server, websocket.Config{MaxMessage: 1000})
		sent := make(chan int, 1)
		go func() {
			all := 0
			_, _ = theirs.Write([]byte{0x82, 0x80 | 127, 0x40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}) // 2^62 bytes
			for part := make([]byte, 10<<10); ; all += len(part) {
				if _, err := theirs.Write(part); err != nil {
					break
				}
			}
			sent <- all
		}()
		go func() { _, _ = io.Copy(io.Discard, theirs) }()
		if _, _, err := c.Read(); err == nil {
			t.Error("it was read")
		}
		if all := <-sent; all < 5<<20 || all > 8<<20 {
			t.Errorf("%d bytes were read", all)
		}
	})
}

func TestAReasonIsCutAtARune(t *testing.T) {
	t.Parallel()
	for _, reason := range []string{strings.Repeat("x", 200), strings.Repeat("ü", 100), strings.Repeat("😀", 40), "bad \xff byte"} {
		ours, theirs := pipe(roomy)
		c := websocket.New(ours, websocket.Server, websocket.Config{})
		closed := make(chan error, 1)
		go func() { closed <- c.Close(websocket.NormalClosure, reason) }()
		f := nextFrame(t, theirs)
		_ = theirs.Close()
		if got := f.Payload[2:]; !utf8.Valid(got) || len(got) > 123 || (len(reason) > 123 && len(got) < 120) {
			t.Errorf("reason %q (%d bytes)", got, len(got))
		}
		if err := <-closed; err != nil {
			t.Error(err)
		}
	}
}

func TestClosingTheStreamFreesAReadAndAWrite(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ours, _ := pipe(1)
		c := websocket.New(ours, websocket.Server, websocket.Config{})
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				if _, _, err := c.Read(); err == nil {
					t.Error("Read: no error")
				}
			})
			wg.Go(func() {
				if err := c.Write(websocket.Text, []byte("stuck")); err == nil {
					t.Error("Write: no error")
				}
			})
		}
		synctest.Wait()
		if err := c.CloseNow(); err != nil {
			t.Error(err)
		}
		wg.Wait()
	})
}
