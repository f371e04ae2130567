package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/fairlead-edge/fairlead"
)

// requestedUpgrade returns the protocols that r asks to switch to (RFC 9110
// §7.8), without those that would let later requests pass unseen: other
// versions of HTTP, and TLS.
func requestedUpgrade(r *http.Request) string {
	if r.ProtoMajor != 1 || !r.ProtoAtLeast(1, 1) || !hasToken(r.Header["Connection"], "upgrade") {
		return ""
	}
	var protocols []string
	for _, line := range r.Header["Upgrade"] {
		for p := range strings.SplitSeq(line, ",") {
			p = strings.TrimSpace(p)
			name, _, _ := strings.Cut(strings.ToLower(p), "/")
			if name != "" && name != "h2c" && name != "h2" && name != "http" && name != "tls" {
				protocols = append(protocols, p)
			}
		}
	}
	return strings.Join(protocols, ", ")
}

// hasToken reports whether the comma-separated lines hold token, in any case.
func hasToken(lines []string, token string) bool {
	for _, line := range lines {
		for t := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(t), token) {
				return true
			}
		}
	}
	return false
}

// switchProtocols passes the upstream's 101 to the client and relays until
// one side ends. An error returned is for the client, who has not been
// answered yet.
func (x *exchange) switchProtocols(out *http.Request) error {
	res := x.switched
	upstream, ok := res.Body.(io.ReadWriteCloser)
	if !ok {
		_ = res.Body.Close()
		return errors.New("switch protocols: the transport's body cannot be written to")
	}
	defer upstream.Close()
	protocol := res.Header.Get("Upgrade")
	if protocol == "" || !hasToken([]string{x.upgrade}, protocol) {
		return errors.New("switch protocols: the upstream switched to what was not asked for")
	}
	if !errors.Is(x.upload.outcome(), io.EOF) {
		return errors.New("switch protocols: the upstream switched before the request's end")
	}
	ctx := out.Context()
	if x.key != "" {
		if err := x.checkAccept(res.Header); err != nil {
			return err
		}
		// A reset by the client would end it, and is to be read as what it is.
		ctx = context.WithoutCancel(ctx)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	kind := kindUpgrade
	if isWebSocket(protocol) {
		kind = kindWebSocket
	}
	link := &link{cancel: cancel, upstream: upstream}
	if !x.h.relays.add(link) {
		return fairlead.Errorf(fairlead.Draining, "%s", fairlead.Draining.Title())
	}
	defer x.h.relays.remove(link)

	var client io.ReadWriteCloser
	var err error
	if x.key != "" {
		client = x.openTunnel(res.Header)
	} else {
		client, err = x.hijack(protocol, res.Header)
	}
	if client == nil {
		return err
	}
	defer client.Close()
	if err == nil {
		link.setClient(client)
		x.list(kind)
		err = x.relay(ctx, protocol, client, &upstreamConn{ReadWriteCloser: upstream, flow: &x.toUpstream})
	}
	if err != nil {
		x.broken = x.key != "" // the rest of the connection was the client's before
		if _, told := errors.AsType[*fairlead.Error](err); !told {
			err = fmt.Errorf("%w: %w", fairlead.Errorf(fairlead.Fault, "the connection broke"), err)
		}
		x.err = fmt.Errorf("proxy: relay %q: %w", protocol, err)
	}
	return nil
}

// handshakeWrite is how long the client may take to accept the 101, a few
// hundred bytes that fit any socket's buffer: one that cannot is gone.
const handshakeWrite = 10 * time.Second

// hijack takes the client's connection over and writes the 101. A nil
// connection means that the client can still be answered.
func (x *exchange) hijack(protocol string, header http.Header) (net.Conn, error) {
	x.addOuter(header)
	removeHopByHop(header)
	header.Del("Content-Length") // RFC 9110 §8.6: not in a 1xx
	header.Set("Connection", "Upgrade")
	header.Set("Upgrade", protocol)

	conn, buffered, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		return nil, fmt.Errorf("switch protocols: take over the connection: %w", err)
	}
	x.status = http.StatusSwitchingProtocols
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return conn, fmt.Errorf("clear deadlines: %w", err)
	}
	if err := conn.SetWriteDeadline(time.Now().Add(handshakeWrite)); err != nil {
		return conn, fmt.Errorf("set the handshake's deadline: %w", err)
	}
	w := bufio.NewWriterSize(conn, 1024)
	_, _ = w.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	_ = header.Write(w)
	_, _ = w.WriteString("\r\n")
	if err := w.Flush(); err != nil {
		return conn, fmt.Errorf("write the handshake: %w", err)
	}
	if err := conn.SetWriteDeadline(time.Time{}); err != nil {
		return conn, fmt.Errorf("clear deadlines: %w", err)
	}
	x.setConn(conn)
	c := &clientConn{Conn: conn, flow: &x.toClient}
	if n := buffered.Reader.Buffered(); n > 0 {
		c.early, _ = buffered.Reader.Peek(n) // cannot fail: they are there
	}
	return c, nil
}
