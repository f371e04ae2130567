package websocket_test

import (
	"bytes"
	"compress/flate"
	"errors"
	"io"
	"strings"
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
	bit := func(rsv byte, op ws.OpCode, p string) []byte {
		return raw(ws.Header{Fin: true, Rsv: rsv, OpCode: op, Masked: true}, []byte(p))
	}
	rsv1, rsv2, rsv3 := ws.Rsv(true, false, false), ws.Rsv(false, true, false), ws.Rsv(false, false, true)
	bomb := string(deflated(t, make([]byte, 1<<20)))
	cases := []struct {
		name string
		in   []byte
		code int
	}{
		{"no mask", plain(ws.OpText, true, "hi"), 1002},
		{"no mask on a ping", plain(ws.OpPing, true, ""), 1002},
		{"RSV1 without compression", bit(rsv1, ws.OpText, "x"), 1002},
		{"RSV2", bit(rsv2, ws.OpText, "x"), 1002},
		{"RSV3", bit(rsv3, ws.OpBinary, "x"), 1002},
		{"RSV2 on a ping", bit(rsv2, ws.OpPing, ""), 1002},
		{"reserved data opcode", masked(3, true, ""), 1002},
		{"reserved data opcode 7", masked(7, true, ""), 1002},
		{"reserved control opcode", masked(0xb, true, ""), 1002},
		{"reserved control opcode 15", masked(0xf, true, ""), 1002},
		{"fragmented ping", masked(ws.OpPing, false, ""), 1002},
		{"fragmented close", masked(ws.OpClose, false, ""), 1002},
		{"long ping", masked(ws.OpPing, true, strings.Repeat("x", 126)), 1002},
		{"continuation of nothing", masked(ws.OpContinuation, true, "x"), 1002},
		{"continuation after the end", join(masked(ws.OpText, false, "a"), masked(ws.OpContinuation, true, "b"), masked(ws.OpContinuation, true, "c")), 1002},
		{"message inside a message", join(masked(ws.OpText, false, "a"), masked(ws.OpText, true, "b")), 1002},
		{"length 2 in 16 bits", []byte{0x82, 0xfe, 0, 2, 0, 0, 0, 0, 'a', 'b'}, 1002},
		{"length 2 in 64 bits", []byte{0x82, 0xff, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 'a', 'b'}, 1002},
		{"length over 63 bits", []byte{0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 1002},
		{"length of 63 bits", []byte{0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0}, 1009},
		{"half a close code", masked(ws.OpClose, true, "\x03"), 1002},
		{"close code 999", masked(ws.OpClose, true, closeBody(999, "")), 1002},
		{"close code 1004", masked(ws.OpClose, true, closeBody(1004, "")), 1002},
		{"close code 1005", masked(ws.OpClose, true, closeBody(1005, "")), 1002},
		{"close code 1006", masked(ws.OpClose, true, closeBody(1006, "")), 1002},
		{"close code 1015", masked(ws.OpClose, true, closeBody(1015, "")), 1002},
		{"close code 2999", masked(ws.OpClose, true, closeBody(2999, "")), 1002},
		{"close code 5000", masked(ws.OpClose, true, closeBody(5000, "")), 1002},
		{"close reason not UTF-8", masked(ws.OpClose, true, closeBody(1000, "\xff")), 1007},
		{"text not UTF-8", masked(ws.OpText, true, "a\xffb"), 1007},
		{"text with a surrogate", masked(ws.OpText, true, "\xed\xa0\x80"), 1007},
		{"text over U+10FFFF", masked(ws.OpText, true, "\xf4\x90\x80\x80"), 1007},
		{"text overlong", masked(ws.OpText, true, "\xc0\xaf"), 1007},
		{"text cut in a character", masked(ws.OpText, true, "gr\xc3"), 1007},
		{"text bad across fragments", join(masked(ws.OpText, false, "\xe2\x82"), masked(ws.OpContinuation, true, "a")), 1007},
		{"text bad, unfinished", masked(ws.OpText, false, "ok \xff"), 1007},
		{"message over the limit", masked(ws.OpBinary, true, strings.Repeat("x", 4097)), 1009},
		{"fragments over the limit", join(masked(ws.OpBinary, false, strings.Repeat("x", 4000)), masked(ws.OpContinuation, true, strings.Repeat("x", 97))), 1009},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			checkViolation(t, websocket.Config{MaxMessage: 4096}, c.in, c.code)
		})
	}
	compressed := []struct {
		name string
		in   []byte
		code int
	}{
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
			checkViolation(t, websocket.Config{MaxMessage: 4096, Compression: true}, c.in, c.code)
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
	rsv1 := ws.Rsv(true, false, false)
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
