package websocket_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"github.com/fairlead-edge/fairlead/websocket"
)

// bridge is a relay that runs between two ends that the test holds.
type bridge struct {
	client, upstream *end // the outer ends
	inner            *end // the relay's end towards the client
	result           chan error
	cancel           context.CancelCauseFunc
}

func startRelay(t *testing.T, room int, cfg websocket.RelayConfig) *bridge {
	t.Helper()
	clientIn, client := pipe(room)
	upstreamIn, upstream := pipe(room)
	ctx, cancel := context.WithCancelCause(t.Context())
	b := &bridge{client, upstream, clientIn, make(chan error, 1), cancel}
	go func() { b.result <- websocket.Relay(ctx, clientIn, upstreamIn, cfg) }()
	t.Cleanup(func() { cancel(nil) })
	return b
}

func (b *bridge) ended(t *testing.T, want string) error {
	t.Helper()
	err := <-b.result
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Relay: %v, want %q in it", err, want)
	}
	for name, e := range map[string]*end{"client": b.client, "upstream": b.upstream} {
		if _, err := io.Copy(io.Discard, e); err != nil && !errors.Is(err, errReset) && !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("the %s's stream: %v", name, err)
		}
	}
	return err
}

func TestFramesPassAsTheyAreBothWays(t *testing.T) {
	t.Parallel()
	var stats websocket.RelayStats
	b := startRelay(t, roomy, websocket.RelayConfig{Stats: &stats})
	long := strings.Repeat("0123456789", 20_000)
	headers := []ws.Header{
		{Rsv: 4, OpCode: ws.OpText},
		{Fin: true, OpCode: ws.OpPing},
		{OpCode: ws.OpContinuation},
		{Fin: true, OpCode: ws.OpPong},
		{Fin: true, OpCode: ws.OpContinuation},
		{Fin: true, Rsv: 7, OpCode: ws.OpBinary},
		{Fin: true, OpCode: ws.OpBinary},
	}
	payloads := []string{"\xff first", "app ping", long, "app pong", "", "x", long}
	for i, h := range headers {
		up, down := h, h
		up.Masked = true
		_, _ = b.client.Write(raw(up, []byte(payloads[i])))
		_, _ = b.upstream.Write(raw(down, []byte(payloads[i])))
	}
	for i, h := range headers {
		for _, to := range []*end{b.client, b.upstream} {
			f := nextFrame(t, to)
			if string(f.Payload) != payloads[i] || f.Header.Fin != h.Fin || f.Header.Rsv != h.Rsv || f.Header.OpCode != h.OpCode {
				t.Errorf("frame %d arrived as %+v with %d bytes", i, f.Header, len(f.Payload))
			}
			if f.Header.Masked != (to == b.upstream) {
				t.Errorf("frame %d: masked is %v", i, f.Header.Masked)
			}
		}
	}
	b.upstream.reset()
	if code := finish(b.client, ws.StateClientSide); code != 1014 {
		t.Errorf("the client was told %d", code)
	}
	_ = b.ended(t, "upstream: connection reset")
	want := int64(len(payloads[0]) + 2*len(long) + 1)
	for name, f := range map[string]*websocket.RelayFlow{"client": &stats.FromClient, "upstream": &stats.FromUpstream} {
		if f.Messages.Load() != 3 || f.Bytes.Load() != want || f.Buffered.Load() != 0 {
			t.Errorf("from the %s: %d messages, %d bytes (want %d), %d buffered", name, f.Messages.Load(), f.Bytes.Load(), want, f.Buffered.Load())
		}
		if n, bytes := f.Deflated.Load(), f.DeflatedBytes.Load(); n != 2 || bytes != want-int64(len(long)) {
			t.Errorf("from the %s: %d messages with RSV1, of %d bytes", name, n, bytes)
		}
	}
}

func TestCodesAndReasonsPassBothWays(t *testing.T) {
	t.Parallel()
	for _, body := range []string{"", closeBody(1000, "bye"), closeBody(1012, ""), closeBody(4408, "too slow")} {
		for _, fromClient := range []bool{true, false} {
			b := startRelay(t, roomy, websocket.RelayConfig{})
			first, second := b.client, b.upstream
			in, reply := masked(ws.OpClose, true, body), plain(ws.OpClose, true, body)
			if !fromClient {
				first, second = second, first
				in, reply = reply, in
			}
			_, _ = first.Write(in)
			if f := nextFrame(t, second); f.Header.OpCode != ws.OpClose || string(f.Payload) != body || f.Header.Masked != fromClient {
				t.Errorf("close %q passed as %+v %q", body, f.Header, f.Payload)
			}
			_, _ = second.Write(reply)
			if f := nextFrame(t, first); f.Header.OpCode != ws.OpClose || string(f.Payload) != body {
				t.Errorf("the reply to %q passed as %+v %q", body, f.Header, f.Payload)
			}
			err := b.ended(t, "closed by the peer")
			want := websocket.NoStatus
			if body != "" {
				want = int(body[0])<<8 | int(body[1])
			}
			if websocket.CloseCode(err) != want {
				t.Errorf("Relay: %v, want code %d", err, want)
			}
		}
	}
}

func TestACloseThatIsNotAnsweredIsAnsweredInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := startRelay(t, roomy, websocket.RelayConfig{})
		began := time.Now()
		_, _ = b.client.Write(masked(ws.OpClose, true, closeBody(4001, "bye")))
		if f := nextFrame(t, b.client); string(f.Payload) != closeBody(4001, "") {
			t.Errorf("answer %q", f.Payload)
		}
		if took := time.Since(began); took != 5*time.Second {
			t.Errorf("answered after %v", took)
		}
		_ = b.ended(t, "client: websocket: closed by the peer with 4001")
	})
}

func TestWhatEachSideIsToldWhenSomethingBreaks(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("x", 60)
	for name, c := range map[string]struct {
		do               func(b *bridge)
		client, upstream int // 0: its stream is gone, nobody is told
		want             string
	}{
		"client resets":           {func(b *bridge) { b.client.reset() }, 0, 1001, "client: connection reset"},
		"upstream resets":         {func(b *bridge) { b.upstream.reset() }, 1014, 0, "upstream: connection reset"},
		"upstream ends in header": {func(b *bridge) { _, _ = b.upstream.Write([]byte{0x82}); _ = b.upstream.Close() }, 1014, 0, "upstream: unexpected EOF"},
		"client does not mask":    {func(b *bridge) { _, _ = b.client.Write(plain(ws.OpText, true, "x")) }, 1002, 1001, "1002"},
		"upstream masks":          {func(b *bridge) { _, _ = b.upstream.Write(masked(ws.OpText, true, "x")) }, 1014, 1002, "1002"},
		"upstream reason":         {func(b *bridge) { _, _ = b.upstream.Write(plain(ws.OpClose, true, closeBody(1000, "\xff"))) }, 1014, 1007, "1007"},
		"client too big":          {func(b *bridge) { _, _ = b.client.Write(masked(ws.OpText, true, big+big)) }, 1009, 1009, "1009"},
		"upstream fragments too big": {func(b *bridge) {
			_, _ = b.upstream.Write(join(plain(ws.OpText, false, big), plain(ws.OpContinuation, true, big)))
		}, 1009, 1009, "1009"},
		"drain": {func(b *bridge) { b.cancel(errors.New("deploy")) }, 1012, 1001, "deploy"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := startRelay(t, roomy, websocket.RelayConfig{MaxMessage: 100})
			c.do(b)
			var client, upstream int
			var wg sync.WaitGroup
			wg.Go(func() { client = finish(b.client, ws.StateClientSide) })
			wg.Go(func() { upstream = finish(b.upstream, ws.StateServerSide) })
			wg.Wait()
			if client != c.client || upstream != c.upstream {
				t.Errorf("the client was told %d, the upstream %d; want %d, %d", client, upstream, c.client, c.upstream)
			}
			_ = b.ended(t, c.want)
		})
	}
}

func TestASlowReaderPausesTheFastSide(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var stats websocket.RelayStats
		const room, frame, frames = 4 << 10, 1 << 10, 200
		b := startRelay(t, room, websocket.RelayConfig{Stats: &stats})
		sent := 0
		go func() {
			for range frames {
				if _, err := b.upstream.Write(plain(ws.OpBinary, true, strings.Repeat("x", frame))); err != nil {
					return
				}
				sent++
			}
		}()
		synctest.Wait()
		if held := sent * frame; held > 2*room+32<<10 {
			t.Errorf("%d bytes were taken from the fast side while nobody reads", held)
		}
		if stats.FromUpstream.Buffered.Load() == 0 {
			t.Error("nothing is counted as buffered")
		}
		for range frames {
			if f := nextFrame(t, b.client); len(f.Payload) != frame {
				t.Fatalf("frame %+v", f.Header)
			}
		}
		b.client.reset()
		if code := finish(b.upstream, ws.StateServerSide); code != 1001 {
			t.Errorf("the upstream was told %d", code)
		}
		_ = b.ended(t, "connection reset")
	})
}

func TestALargeFrameNeedsNoLargeBuffer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var stats websocket.RelayStats
		b := startRelay(t, 100, websocket.RelayConfig{Stats: &stats})
		go func() { _, _ = b.client.Write(masked(ws.OpBinary, true, strings.Repeat("x", 1<<20))) }()
		synctest.Wait()
		if n := stats.FromClient.Buffered.Load(); n == 0 || n > 32<<10 {
			t.Errorf("%d bytes buffered", n)
		}
		if f := nextFrame(t, b.upstream); string(f.Payload) != strings.Repeat("x", 1<<20) {
			t.Error("the frame changed")
		}
		b.cancel(errors.New("enough"))
		go finish(b.upstream, ws.StateServerSide)
		finish(b.client, ws.StateClientSide)
		_ = b.ended(t, "enough")
	})
}

func TestHalfAFrameEndsAbruptly(t *testing.T) {
	t.Parallel()
	b := startRelay(t, roomy, websocket.RelayConfig{})
	whole := masked(ws.OpBinary, true, strings.Repeat("x", 100_000))
	_, _ = b.client.Write(whole[:60_000])
	if _, err := io.ReadFull(b.upstream, make([]byte, 28<<10)); err != nil {
		t.Fatal(err)
	}
	b.client.reset()
	if rest, err := io.ReadAll(b.upstream); err != nil || len(rest) > 32<<10 {
		t.Errorf("%d bytes more, %v", len(rest), err)
	}
	_ = b.ended(t, "client: connection reset")
}

func TestIdleLegsArePingedAndTheirPongsSwallowed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := startRelay(t, roomy, websocket.RelayConfig{})
		began := time.Now()
		var wg sync.WaitGroup
		answer := func(e *end, mask bool) {
			for i := 1; i <= 10; i++ {
				f := nextFrame(t, e)
				if f.Header.OpCode != ws.OpPing {
					t.Errorf("got %+v, want a ping", f.Header)
				}
				lo, hi := time.Duration(i)*13*time.Second, time.Duration(i)*17*time.Second
				if at := time.Since(began); at < lo || at > hi {
					t.Errorf("ping %d after %v", i, at)
				}
				_, _ = e.Write(raw(ws.Header{Fin: true, OpCode: ws.OpPong, Masked: mask}, f.Payload))
			}
		}
		wg.Go(func() { answer(b.client, true) })
		wg.Go(func() { answer(b.upstream, false) })
		wg.Wait()
		b.cancel(errors.New("done"))
		go finish(b.upstream, ws.StateServerSide)
		finish(b.client, ws.StateClientSide)
		_ = b.ended(t, "done")
	})
}

func TestASilentLegIsGivenUp(t *testing.T) {
	t.Parallel()
	for _, silent := range []string{"client", "upstream"} {
		synctest.Test(t, func(t *testing.T) {
			b := startRelay(t, roomy, websocket.RelayConfig{})
			began := time.Now()
			alive, mask, want := b.upstream, false, 1001
			if silent == "upstream" {
				alive, mask, want = b.client, true, 1014
			}
			for {
				f := nextFrame(t, alive)
				if f.Header.OpCode == ws.OpClose {
					if string(f.Payload[:2]) != closeBody(want, "") {
						t.Errorf("told %q, want %d", f.Payload, want)
					}
					break
				}
				_, _ = alive.Write(raw(ws.Header{Fin: true, OpCode: ws.OpPong, Masked: mask}, f.Payload))
			}
			if at := time.Since(began); at < 45*time.Second || at > 62*time.Second {
				t.Errorf("given up after %v", at)
			}
			_ = alive.Close()
			_ = b.ended(t, silent+": nothing arrived for too long")
		})
	}
}

func TestAPeerThatTakesNothingIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := startRelay(t, 100, websocket.RelayConfig{})
		go func() {
			for { // it sends, and does not read
				if _, err := b.client.Write(masked(ws.OpPong, true, "")); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		go func() { _, _ = b.upstream.Write(plain(ws.OpText, true, strings.Repeat("x", 1000))) }()
		go func() {
			for {
				if _, err := readFrame(b.upstream); err != nil {
					return
				}
			}
		}()
		began := time.Now()
		_ = b.ended(t, "client: nothing was taken for too long")
		if at := time.Since(began); at < 45*time.Second || at > 52*time.Second {
			t.Errorf("given up after %v", at)
		}
	})
}

func TestADrainIsBoundedByPeersThatDoNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := startRelay(t, 1, websocket.RelayConfig{})
		b.cancel(errors.New("deploy"))
		began := time.Now()
		err := <-b.result
		if err == nil || !strings.Contains(err.Error(), "deploy") {
			t.Errorf("Relay: %v", err)
		}
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("Relay took %v", took)
		}
	})
}
