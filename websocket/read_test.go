package websocket_test

import (
	"bytes"
	"compress/flate"
	"errors"
	"io"
	"testing"
	"testing/synctest"

	"github.com/gobwas/ws"

	"github.com/fairlead-edge/fairlead/websocket"
)

const roomy = 1 << 20

// deflated is a payload as a foreign sender compresses it.
func deflated(t testing.TB, p []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, 9)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write(p)
	_ = w.Flush()
	return bytes.TrimSuffix(b.Bytes(), []byte("\x00\x00\xff\xff"))
}

func TestEveryBrokenRuleClosesWithItsCode(t *testing.T) {
	t.Parallel()
	bomb := string(deflated(t, make([]byte, 1<<20)))
	for _, c := range violations() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			checkViolation(t, websocket.Config{MaxMessage: vectorLimit}, c.in, c.code)
		})
	}
	compressed := []violation{
		{"RSV1 on a continuation", join(masked(ws.OpText, false, "a"), bit(rsv1, ws.OpContinuation, "b")), 1002},
		{"RSV1 on a ping", bit(rsv1, ws.OpPing, ""), 1002},
		{"RSV1 and RSV2", bit(rsv1|rsv2, ws.OpText, ""), 1002},
		{"a bomb", bit(rsv1, ws.OpBinary, bomb), 1009},
		{"not deflate", bit(rsv1, ws.OpBinary, "\xff\xff\xff"), 1007},
		{"text not UTF-8 inside", bit(rsv1, ws.OpText, string(deflated(t, []byte("\xff")))), 1007},
		{"text cut in a character inside", bit(rsv1, ws.OpText, string(deflated(t, []byte("\xc3")))), 1007},
	}
	for _, c := range compressed {
		t.Run("compressed/"+c.name, func(t *testing.T) {
			t.Parallel()
			checkViolation(t, websocket.Config{MaxMessage: vectorLimit, Compression: true}, c.in, c.code)
		})
	}
}

func checkViolation(t *testing.T, cfg websocket.Config, in []byte, code int) {
	t.Helper()
	ours, theirs := pipe(roomy)
	c := websocket.New(ours, websocket.Server, cfg)
	_, _ = theirs.Write(in)
	told := make(chan int, 1)
	go func() { told <- finish(theirs, ws.StateClientSide) }()
	var err error
	for err == nil {
		_, _, err = c.Read()
	}
	broken, ok := errors.AsType[*websocket.ProtocolError](err)
	if !ok || broken.Code != code {
		t.Errorf("Read: %v, want a ProtocolError with %d", err, code)
	}
	if got := <-told; got != code {
		t.Errorf("the peer was told %d, want %d", got, code)
	}
	if _, _, again := c.Read(); !errors.Is(again, err) {
		t.Errorf("the next Read: %v, want the same error", again)
	}
	if err := c.Write(websocket.Text, nil); err == nil {
		t.Error("Write after the end: no error")
	}
}

func TestAClientRefusesMaskedFrames(t *testing.T) {
	t.Parallel()
	ours, theirs := pipe(roomy)
	c := websocket.New(ours, websocket.Client, websocket.Config{})
	_, _ = theirs.Write(masked(ws.OpText, true, "hi"))
	go finish(theirs, ws.StateServerSide)
	if _, _, err := c.Read(); websocket.CloseCode(err) != 1002 {
		t.Errorf("Read: %v, want 1002", err)
	}
}

func TestFragmentsJoinAroundControlFrames(t *testing.T) {
	t.Parallel()
	ours, theirs := pipe(roomy)
	c := websocket.New(ours, websocket.Server, websocket.Config{})
	_, _ = theirs.Write(join(
		masked(ws.OpText, false, "gr\xc3"),
		masked(ws.OpPing, true, "one"),
		masked(ws.OpContinuation, false, ""),
		masked(ws.OpPong, true, "never asked for"),
		masked(ws.OpContinuation, true, "\xbc\xc3\x9fe"),
		masked(ws.OpBinary, true, ""),
	))
	kind, p, err := c.Read()
	if kind != websocket.Text || string(p) != "grüße" || err != nil {
		t.Errorf("Read = %v, %q, %v", kind, p, err)
	}
	if f := nextFrame(t, theirs); f.Header.OpCode != ws.OpPong || string(f.Payload) != "one" || f.Header.Masked {
		t.Errorf("the answer to the ping is %+v", f)
	}
	kind, p, err = c.Read()
	if kind != websocket.Binary || p == nil || len(p) != 0 || err != nil {
		t.Errorf("Read = %v, %q, %v, want an empty binary message", kind, p, err)
	}
}

func TestBadTextFailsBeforeItsFrameIsWhole(t *testing.T) {
	t.Parallel()
	ours, theirs := pipe(roomy)
	c := websocket.New(ours, websocket.Server, websocket.Config{})
	whole := masked(ws.OpText, true, "bad \xff and much more")
	_, _ = theirs.Write(whole[:len(whole)-10])
	go finish(theirs, ws.StateClientSide)
	if _, _, err := c.Read(); websocket.CloseCode(err) != 1007 {
		t.Errorf("Read: %v, want 1007", err)
	}
}

func TestAMessageOfExactlyTheLimitIsRead(t *testing.T) {
	t.Parallel()
	for _, compression := range []bool{false, true} {
		ours, theirs := pipe(roomy)
		server := websocket.New(ours, websocket.Server, websocket.Config{MaxMessage: 100_000, Compression: compression})
		client := websocket.New(theirs, websocket.Client, websocket.Config{Compression: compression})
		want := bytes.Repeat([]byte("0123456789"), 10_000)
		if err := client.Write(websocket.Binary, want); err != nil {
			t.Fatal(err)
		}
		if sent := theirs.held(); compression != (sent < len(want)) {
			t.Errorf("compression %v: %d bytes on the wire", compression, sent)
		}
		if _, p, err := server.Read(); !bytes.Equal(p, want) || err != nil {
			t.Errorf("compression %v: Read %d bytes, %v", compression, len(p), err)
		}
	}
}

func TestForeignDeflateIsInflated(t *testing.T) {
	t.Parallel()
	payload := deflated(t, []byte("Hello, Hello, Hello"))
	var final bytes.Buffer // a last block, allowed by RFC 7692 §7.2.3.4
	w, _ := flate.NewWriter(&final, 9)
	_, _ = io.WriteString(w, "final")
	_ = w.Close()
	ours, theirs := pipe(roomy)
	c := websocket.New(ours, websocket.Server, websocket.Config{Compression: true})
	_, _ = theirs.Write(join(
		raw(ws.Header{Rsv: rsv1, OpCode: ws.OpText, Masked: true}, payload[:3]),
		masked(ws.OpPing, true, ""),
		masked(ws.OpContinuation, true, string(payload[3:])),
		raw(ws.Header{Fin: true, Rsv: rsv1, OpCode: ws.OpText, Masked: true}, append(final.Bytes(), 0)),
		masked(ws.OpText, true, "not compressed"),
		// The examples of RFC 7692 §7.2.3.1 and §7.2.3.6.
		raw(ws.Header{Fin: true, Rsv: rsv1, OpCode: ws.OpText, Masked: true}, []byte{0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00}),
		raw(ws.Header{Fin: true, Rsv: rsv1, OpCode: ws.OpText, Masked: true}, []byte{0x00}),
	))
	for _, want := range []string{"Hello, Hello, Hello", "final", "not compressed", "Hello", ""} {
		if _, p, err := c.Read(); string(p) != want || err != nil {
			t.Errorf("Read = %q, %v, want %q", p, err, want)
		}
	}
}

func TestAStreamThatEndsWithoutACloseIsAnError(t *testing.T) {
	t.Parallel()
	for name, in := range map[string][]byte{
		"at once": nil, "in a header": {0x82}, "in a long header": {0x82, 0xfe, 1},
		"in a payload": masked(ws.OpText, true, "hello")[:8], "in a ping": masked(ws.OpPing, true, "x")[:6],
	} {
		ours, theirs := pipe(roomy)
		c := websocket.New(ours, websocket.Server, websocket.Config{})
		_, _ = theirs.Write(in)
		_ = theirs.Close()
		_, _, err := c.Read()
		if websocket.CloseCode(err) != websocket.AbnormalClosure {
			t.Errorf("%s: Read: %v, want an abnormal closure", name, err)
		}
		if (name == "at once") != (errors.Is(err, io.EOF)) {
			t.Errorf("%s: Read: %v", name, err)
		}
		_ = c.CloseNow()
	}
}

func TestAnyByteIsProofOfLife(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := pipe(roomy)
		c := websocket.New(ours, websocket.Server, websocket.Config{})
		born := c.LastRead()
		done := make(chan error, 1)
		go func() {
			_, _, err := c.Read()
			done <- err
		}()
		sleep(t, "10s")
		_, _ = theirs.Write(masked(ws.OpPong, true, "")[:3])
		synctest.Wait()
		if got := c.LastRead().Sub(born).String(); got != "10s" {
			t.Errorf("life was seen after %s, want 10s", got)
		}
		_ = c.CloseNow()
		if <-done == nil {
			t.Error("Read on a closed stream: no error")
		}
	})
}
