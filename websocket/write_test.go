package websocket_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"github.com/fairlead-edge/fairlead/websocket"
)

func sleep(t *testing.T, d string) {
	t.Helper()
	pause, err := time.ParseDuration(d)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(pause) // simulated: every caller is inside synctest.Test
}

func TestAMessageIsOneWriteAndOneFrame(t *testing.T) {
	t.Parallel()
	for _, side := range []websocket.Side{websocket.Server, websocket.Client} {
		for _, n := range []int{0, 1, 125, 126, 65535, 65536, 300_000} {
			ours, theirs := pipe(roomy)
			c := websocket.New(ours, side, websocket.Config{})
			want := bytes.Repeat([]byte{'a'}, n)
			if err := c.Write(websocket.Binary, want); err != nil {
				t.Fatal(err)
			}
			if ours.writes() != 1 {
				t.Errorf("%d bytes: %d writes", n, ours.writes())
			}
			f := nextFrame(t, theirs)
			if !bytes.Equal(f.Payload, want) || !f.Header.Fin || f.Header.Rsv != 0 || f.Header.OpCode != ws.OpBinary {
				t.Errorf("%d bytes: header %+v", n, f.Header)
			}
			if theirs.held() != 0 {
				t.Errorf("%d bytes: more than a frame", n)
			}
		}
	}
}

func TestAClientMasksEachFrameAnew(t *testing.T) {
	t.Parallel()
	ours, theirs := pipe(roomy)
	c := websocket.New(ours, websocket.Client, websocket.Config{})
	seen := map[[4]byte]bool{}
	for range 8 {
		if err := c.Write(websocket.Text, []byte("x")); err != nil {
			t.Fatal(err)
		}
		h, err := ws.ReadHeader(theirs)
		if err != nil || !h.Masked {
			t.Fatalf("header %+v, %v", h, err)
		}
		_, _ = theirs.Read(make([]byte, 1))
		seen[h.Mask] = true
	}
	if len(seen) < 7 {
		t.Errorf("8 frames used %d masks", len(seen))
	}
}

func TestConcurrentWritersDoNotMixFrames(t *testing.T) {
	t.Parallel()
	const writers, each = 8, 50
	ours, theirs := pipe(1 << 10)
	server := websocket.New(ours, websocket.Server, websocket.Config{Compression: true})
	client := websocket.New(theirs, websocket.Client, websocket.Config{Compression: true})
	shared := websocket.AppendFrame(nil, websocket.Text, []byte("shared"))
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				var err error
				switch i % 3 {
				case 0:
					err = server.WriteFrame(shared)
				case 1:
					err = server.Ping([]byte{byte(i)})
				default:
					err = server.Write(websocket.Text, []byte(strings.Repeat(fmt.Sprint(w), 700+i)))
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Go(func() {
		// Reading takes the client's pongs.
		_, _, _ = server.Read()
	})
	for range writers * (each - 17) {
		_, p, err := client.Read()
		if err != nil {
			t.Fatal(err)
		}
		if s := string(p); s != "shared" && strings.Trim(s, s[:1]) != "" {
			t.Fatalf("mixed message %q", s)
		}
	}
	if err := client.Close(websocket.NormalClosure, ""); err != nil {
		t.Error(err)
	}
	wg.Wait()
}

func TestReadingGoesOnWhileAWriterIsStuck(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := pipe(256)
		c := websocket.New(ours, websocket.Server, websocket.Config{})
		written := make(chan error, 1)
		go func() { written <- c.Write(websocket.Binary, make([]byte, 1000)) }()
		synctest.Wait()
		_, _ = theirs.Write(join(masked(ws.OpPing, true, "old"), masked(ws.OpPing, true, "new"), masked(ws.OpText, true, "news")))
		if _, p, err := c.Read(); string(p) != "news" || err != nil {
			t.Fatalf("Read = %q, %v", p, err)
		}
		if f := nextFrame(t, theirs); f.Header.Length != 1000 {
			t.Errorf("first frame %+v", f.Header)
		}
		if err := <-written; err != nil {
			t.Error(err)
		}
		if f := nextFrame(t, theirs); f.Header.OpCode != ws.OpPong || string(f.Payload) != "new" {
			t.Errorf("then %+v, want the pong of the newest ping", f)
		}
		_ = c.CloseNow()
	})
}

func TestAnEncodedFrameIsWhatAServerWrites(t *testing.T) {
	t.Parallel()
	ours, theirs := pipe(roomy)
	server := websocket.New(ours, websocket.Server, websocket.Config{})
	client := websocket.New(theirs, websocket.Client, websocket.Config{})
	frame := websocket.AppendFrame([]byte("kept"), websocket.Text, []byte("news"))
	if !bytes.HasPrefix(frame, []byte("kept")) {
		t.Fatalf("frame %q", frame)
	}
	if err := server.WriteFrame(frame[4:]); err != nil {
		t.Fatal(err)
	}
	if kind, p, err := client.Read(); kind != websocket.Text || string(p) != "news" || err != nil {
		t.Errorf("Read = %v, %q, %v", kind, p, err)
	}
	if err := client.WriteFrame(frame[4:]); err == nil {
		t.Error("a client sent a frame without a mask")
	}
}

func TestWrongUseIsRefusedBeforeTheWire(t *testing.T) {
	t.Parallel()
	ours, _ := pipe(roomy)
	c := websocket.New(ours, websocket.Server, websocket.Config{})
	for name, err := range map[string]error{
		"text not UTF-8": c.Write(websocket.Text, []byte{0xff}),
		"no type":        c.Write(0, nil),
		"control type":   c.Write(9, nil),
		"long ping":      c.Ping(make([]byte, 126)),
		"code 1005+":     c.Close(1006, ""),
		"code 0":         c.Close(0, ""),
		"no deadlines":   c.SetReadDeadline(time.Time{}),
	} {
		if err == nil || !strings.HasPrefix(err.Error(), "websocket: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if ours.writes() != 0 {
		t.Errorf("%d writes", ours.writes())
	}
}

func TestAPeerThatNeverReadsEndsTheConnectionInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer func() { _ = theirs.Close() }()
		c := websocket.New(ours, websocket.Server, websocket.Config{WriteTimeout: 7 * time.Second})
		began := time.Now()
		if err := c.Write(websocket.Text, []byte("hello")); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Write: %v", err)
		}
		if took := time.Since(began); took != 7*time.Second {
			t.Errorf("Write gave up after %v", took)
		}
		if _, _, err := c.Read(); err == nil {
			t.Error("Read after a broken Write: no error")
		}
	})
}

func TestAReadDeadlineEndsAQuietRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer func() { _ = theirs.Close() }()
		c := websocket.New(ours, websocket.Server, websocket.Config{})
		if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.Read(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Read: %v", err)
		}
		_ = c.CloseNow()
	})
}
