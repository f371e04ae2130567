//go:build linux

package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// Kinds of subscribers that net/http holds, for what they cost the server.
const (
	kindTLS = "tls" // HTTP/1.1
	kindH2  = "h2"  // streams of HTTP/2 without TLS, as many on a connection as the server allows
)

// hold opens streams by net/http, which are read until the group is closed.
func (g *group) hold(o order) error {
	protocols := new(http.Protocols)
	scheme := "http://"
	if o.Kind == kindTLS {
		protocols.SetHTTP1(true)
		scheme = "https://"
	} else {
		protocols.SetUnencryptedHTTP2(true)
	}
	ctx, cancel := context.WithCancel(context.Background())
	transport := &http.Transport{
		Protocols:          protocols,
		DisableCompression: true,
		TLSClientConfig:    &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // the server's certificate is made up, and so is the client
		DialContext:        (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(o.Source)}}).DialContext,
	}
	g.release = append(g.release, cancel, transport.CloseIdleConnections)
	const lanes = 8
	errs := make(chan error, lanes)
	var open sync.WaitGroup
	for lane := range lanes {
		open.Go(func() {
			for i := lane; i < o.Count; i += lanes {
				if err := g.stream(ctx, transport, scheme+o.Address+o.Path); err != nil {
					errs <- fmt.Errorf("stream %d of %d: %w", i, o.Count, err)
					return
				}
			}
		})
	}
	open.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}

// stream opens one and returns when the head of its response is there.
func (g *group) stream(ctx context.Context, transport *http.Transport, url string) error {
	ctx, cancel := context.WithCancel(ctx)
	patience := time.AfterFunc(20*time.Second, cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		cancel()
		return err
	}
	req.Header.Set("Accept", "text/event-stream")
	res, err := transport.RoundTrip(req) //nolint:bodyclose // the goroutine below does
	if err == nil && res.StatusCode != 200 {
		res.Body.Close()
		err = fmt.Errorf("status %d", res.StatusCode)
	}
	if err != nil {
		cancel()
		return err
	}
	patience.Stop()
	go func() {
		defer cancel()
		defer res.Body.Close()
		buffer := make([]byte, 512)
		for {
			if _, err := res.Body.Read(buffer); err != nil {
				if ctx.Err() == nil {
					g.lost.Add(1)
				}
				return
			}
		}
	}()
	return nil
}
