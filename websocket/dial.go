package websocket

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// DialConfig adjusts [Dial]. The zero value is ready to use.
type DialConfig struct {
	// Config is the connection's; Subprotocols are those to ask for.
	Config

	// Header is sent with the handshake: Authorization, Origin, Cookie. Host
	// overrides the URL's. Default none.
	Header http.Header
	// TLS is for wss and https. Default the system's roots. Its NextProtos are
	// replaced by http/1.1.
	TLS *tls.Config
	// NetDial opens the TCP connection, for a proxy or a pipe. Default
	// [net.Dialer.DialContext].
	NetDial func(ctx context.Context, network, address string) (net.Conn, error)
	// Timeout bounds the dial and the handshake together. Default 10 s.
	Timeout time.Duration
}

const (
	maxHandshake = 64 << 10 // of a handshake's answer, in bytes
	maxErrorBody = 8 << 10  // of a refusal's body that is kept, in bytes
)

// Dial opens a WebSocket to a ws, wss, http or https URL (RFC 6455 §4.1). ctx
// bounds the handshake, not the connection. When the server answers with
// something else than a WebSocket the error says so, and the response, which is
// nil when there was none, has the first 8 KiB of its body in memory. Redirects
// are not followed.
func Dial(ctx context.Context, rawURL string, opt DialConfig) (*Conn, *http.Response, error) {
	opt.Config = opt.withDefaults()
	if opt.Timeout <= 0 {
		opt.Timeout = 10 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, opt.Timeout)
	defer cancel()
	req, err := handshakeRequest(ctx, rawURL, opt)
	if err != nil {
		return nil, nil, err
	}
	conn, err := dialStream(ctx, req.URL, opt)
	if err != nil {
		return nil, nil, fmt.Errorf("websocket: dial: %w", err)
	}
	// Closing the stream is the one way to interrupt any of them.
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	c, resp, err := handshake(conn, req, opt)
	if !stop() {
		err = errors.Join(ctx.Err(), err)
	}
	if err != nil {
		return nil, resp, errors.Join(fmt.Errorf("websocket: dial: %w", err), ignoreClosed(conn.Close()))
	}
	return c, resp, nil
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func handshakeRequest(ctx context.Context, rawURL string, opt DialConfig) (*http.Request, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("websocket: dial: %w", err)
	}
	switch u.Scheme {
	case "ws":
		u.Scheme = "http"
	case "wss":
		u.Scheme = "https"
	case "http", "https":
	default:
		return nil, fmt.Errorf("websocket: dial: scheme %q: use ws, wss, http or https", u.Scheme)
	}
	if u.Host == "" || u.Fragment != "" {
		return nil, errors.New("websocket: dial: the URL needs a host and no fragment (RFC 6455 §3)")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("websocket: dial: %w", err)
	}
	if opt.Header != nil {
		req.Header = opt.Header.Clone()
		if host := req.Header.Get("Host"); host != "" {
			req.Host = host
			req.Header.Del("Host")
		}
	}
	if password, ok := u.User.Password(); ok && req.Header.Get("Authorization") == "" {
		req.SetBasicAuth(u.User.Username(), password)
	}
	var key [16]byte
	_, _ = rand.Read(key[:]) // never fails
	req.Header.Set("Upgrade", "websocket")
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Sec-WebSocket-Key", base64.StdEncoding.EncodeToString(key[:]))
	req.Header.Set("Sec-WebSocket-Version", version)
	for _, p := range opt.Subprotocols {
		req.Header.Add("Sec-WebSocket-Protocol", p)
	}
	if opt.Compression {
		req.Header.Set("Sec-WebSocket-Extensions", deflateOffer)
	}
	return req, nil
}

func dialStream(ctx context.Context, u *url.URL, opt DialConfig) (net.Conn, error) {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	dial := opt.NetDial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	conn, err := dial(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil || u.Scheme == "http" {
		return conn, err
	}
	cfg := opt.TLS.Clone()
	if cfg == nil {
		cfg = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if cfg.ServerName == "" {
		cfg.ServerName = u.Hostname()
	}
	cfg.NextProtos = []string{"http/1.1"}
	secure := tls.Client(conn, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, ignoreClosed(conn.Close()))
	}
	return secure, nil
}

// handshake sends req and judges the answer (RFC 6455 §4.1).
func handshake(conn net.Conn, req *http.Request, opt DialConfig) (*Conn, *http.Response, error) {
	if err := req.Write(conn); err != nil {
		return nil, nil, err
	}
	br := bufio.NewReaderSize(io.LimitReader(conn, maxHandshake), readBuffer)
	resp, err := http.ReadResponse(br, req)
	if err != nil {
		return nil, nil, err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody)) // what there is of it
		resp.Body = io.NopCloser(bytes.NewReader(body))
		return nil, resp, fmt.Errorf("the server answered %s instead of 101", resp.Status)
	}
	protocol, deflate, err := judge(req, resp.Header, opt)
	if err != nil {
		return nil, resp, err
	}
	early, err := br.Peek(br.Buffered())
	if err != nil {
		return nil, resp, err
	}
	cfg := opt.Config
	cfg.Compression = deflate
	c := newConn(conn, Client, cfg, slices.Clone(early))
	c.subprotocol = protocol
	return c, resp, nil
}

func judge(req *http.Request, h http.Header, opt DialConfig) (protocol string, deflate bool, err error) {
	protocols := h.Values("Sec-WebSocket-Protocol")
	deflate, ok := agreedDeflate(h, opt.Compression)
	switch {
	case !hasToken(h, "Connection", "upgrade"), !hasToken(h, "Upgrade", "websocket"):
		return "", false, errors.New("the server switched to something other than websocket")
	case h.Get("Sec-WebSocket-Accept") != acceptKey(req.Header.Get("Sec-WebSocket-Key")):
		return "", false, errors.New("the server's Sec-WebSocket-Accept is wrong")
	case len(protocols) > 1, len(protocols) == 1 && !slices.Contains(opt.Subprotocols, protocols[0]):
		return "", false, fmt.Errorf("the server chose subprotocol %q, which was not offered", protocols)
	case !ok:
		return "", false, errors.New("the server chose an extension that was not offered")
	}
	if len(protocols) == 1 {
		protocol = protocols[0]
	}
	return protocol, deflate, nil
}
