package websocket_test

import (
	"bytes"
	"slices"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/gobwas/ws"

	"github.com/fairlead-edge/fairlead/websocket"
)

func seeds(f *testing.F) {
	f.Helper()
	for _, frame := range []func(ws.OpCode, bool, string) []byte{masked, plain} {
		f.Add(frame(ws.OpText, true, "hello"))
		f.Add(join(frame(ws.OpText, false, "a\xc3"), frame(ws.OpPing, true, "p"), frame(ws.OpContinuation, true, "\xbc")))
		f.Add(frame(ws.OpClose, true, closeBody(1000, "bye")))
		f.Add(frame(ws.OpBinary, true, string(make([]byte, 70_000))))
	}
	f.Add(raw(ws.Header{Fin: true, Rsv: 4, OpCode: ws.OpText, Masked: true}, deflated(f, []byte("hello hello"))))
	f.Add([]byte{0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
}

func FuzzRead(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 1<<20 {
			return // over what the pipe holds
		}
		for _, side := range []websocket.Side{websocket.Server, websocket.Client} {
			ours, theirs := pipe(1 << 20)
			c := websocket.New(ours, side, websocket.Config{MaxMessage: 4 << 10, Compression: true, CloseTimeout: time.Minute})
			_, _ = theirs.Write(in)
			_ = theirs.Close()
			for {
				kind, p, err := c.Read()
				if err != nil {
					break
				}
				if len(p) > 4<<10 || (kind == websocket.Text && !utf8.Valid(p)) || p == nil {
					t.Fatalf("message %v of %d bytes", kind, len(p))
				}
			}
			_ = c.CloseNow()
		}
	})
}

// FuzzParser compares a parser with Conn.Read, and with itself when the bytes
// arrive otherwise.
func FuzzParser(f *testing.F) {
	seeds(f)
	for _, v := range violations() {
		f.Add(v.in)
	}
	in, _ := conversation(masked)
	f.Add(in)
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 1<<17 {
			return // a Conn takes its time to throw more away
		}
		const limit = 100_000
		for _, side := range []websocket.Side{websocket.Server, websocket.Client} {
			p := websocket.NewParser(side, limit)
			whole := parse(t, &p, in)
			if want, got := read(side, limit, in), asConn(whole); !slices.Equal(got, want) {
				t.Fatalf("side %d: the parser tells %.500v, a Conn %.500v", side, got, want)
			}
			for _, size := range []int{1, 2, 3, 7, 128, 4096} {
				if size < len(in)/4096 {
					continue // slow, and others have seen it
				}
				p := websocket.NewParser(side, limit)
				if got := parse(t, &p, slices.Collect(slices.Chunk(in, size))...); !slices.Equal(got, whole) {
					t.Fatalf("side %d, by %d bytes: %.500v, want %.500v", side, size, got, whole)
				}
			}
		}
	})
}

func FuzzRelay(f *testing.F) {
	f.Add(masked(ws.OpText, true, "hi"), plain(ws.OpText, true, "hi"))
	f.Add(join(masked(ws.OpText, false, "a"), masked(ws.OpContinuation, true, "b")), plain(ws.OpClose, true, closeBody(1001, "")))
	f.Add(masked(ws.OpClose, true, "\x03"), plain(ws.OpPing, true, "x"))
	f.Fuzz(func(t *testing.T, fromClient, fromUpstream []byte) {
		if max(len(fromClient), len(fromUpstream)) > 1<<20 {
			return // over what the pipe holds
		}
		b := startRelay(t, 1<<20, websocket.RelayConfig{MaxMessage: 4 << 10})
		_, _ = b.client.Write(fromClient)
		_, _ = b.upstream.Write(fromUpstream)
		_ = b.client.Close()
		_ = b.upstream.Close()
		if err := <-b.result; err == nil {
			t.Fatal("Relay returned no reason")
		}
	})
}

func FuzzDeflateRoundTrip(f *testing.F) {
	f.Add([]byte("hello, hello"), true)
	f.Add(bytes.Repeat([]byte{0}, 5000), false)
	f.Fuzz(func(t *testing.T, p []byte, client bool) {
		if len(p) > 1<<19 {
			return
		}
		cfg := websocket.Config{Compression: true, CompressMin: 1}
		from, to := websocket.Server, websocket.Client
		if client {
			from, to = to, from
		}
		a, b := pipe(1 << 21)
		if err := websocket.New(a, from, cfg).Write(websocket.Binary, p); err != nil {
			t.Fatal(err)
		}
		if _, got, err := websocket.New(b, to, cfg).Read(); err != nil || !bytes.Equal(got, p) {
			t.Fatalf("%d bytes came back as %d, %v", len(p), len(got), err)
		}
	})
}
