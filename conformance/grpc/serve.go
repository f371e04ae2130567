package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"

	conformancev1 "github.com/fairlead-edge/fairlead/conformance/grpc/connectrpc/conformance/v1"
	"github.com/fairlead-edge/fairlead/conformance/grpc/connectrpc/conformance/v1/conformancev1connect"
	"github.com/fairlead-edge/fairlead/interceptor"
	"github.com/fairlead-edge/fairlead/listen"
)

// serve answers until ctx ends, which fails unless each call that has begun is over.
func serve(ctx context.Context, asked *conformancev1.ServerCompatRequest, out io.Writer) error {
	var begun, ended atomic.Int64
	around := connect.WithInterceptors(
		interceptor.Logging(interceptor.LoggingConfig{Logger: slog.New(slog.DiscardHandler), Bytes: true}),
		interceptor.Metrics(interceptor.MetricsConfig{
			Begin: func(interceptor.Call) { begun.Add(1) }, End: func(interceptor.Call) { ended.Add(1) }, Bytes: true,
		}),
		interceptor.Recovery(func(procedure string, v any, stack []byte) {
			fmt.Fprintf(os.Stderr, "grpc: %s panicked: %v\n%s", procedure, v, stack)
		}),
	)
	mux := http.NewServeMux()
	mux.Handle(conformancev1connect.NewConformanceServiceHandler(service{}, around, connect.WithReadMaxBytes(int(asked.GetMessageReceiveLimit()))))
	secure, err := secured(asked)
	if err != nil {
		return err
	}
	server, err := listen.New(listen.Config{Handler: mux, TLS: secure, Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))})
	if err != nil {
		return err
	}
	tcp, udp, err := sockets(ctx, asked.GetHttpVersion())
	if err != nil {
		return err
	}
	var serving sync.WaitGroup
	var failed error
	serving.Go(func() { failed = server.Serve(tcp, udp) })
	err = writeMessage(out, &conformancev1.ServerCompatResponse{
		Host: "127.0.0.1", Port: uint32(tcp.Addr().(*net.TCPAddr).Port), PemCert: asked.GetServerCreds().GetCert(),
	})
	if err == nil {
		<-ctx.Done()
	}
	graceful, cancel := context.WithTimeout(context.WithoutCancel(ctx), 3*time.Second)
	defer cancel()
	_ = server.Shutdown(graceful) // what is left is closed
	err = errors.Join(err, server.Close())
	serving.Wait()
	// Handlers are not joined by who serves them.
	for soon := time.Now().Add(3 * time.Second); begun.Load() != ended.Load(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(soon) {
			err = errors.Join(err, fmt.Errorf("%d calls have begun and %d ended", begun.Load(), ended.Load()))
			break
		}
	}
	return errors.Join(err, failed)
}

// sockets are of one free port.
func sockets(ctx context.Context, version conformancev1.HTTPVersion) (net.Listener, net.PacketConn, error) {
	var on net.ListenConfig
	tcp, err := on.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil || version != conformancev1.HTTPVersion_HTTP_VERSION_3 {
		return tcp, nil, err
	}
	udp, err := on.ListenPacket(ctx, "udp", tcp.Addr().String())
	return tcp, udp, err
}

// secured says how connections are, nil: not at all.
func secured(asked *conformancev1.ServerCompatRequest) (*listen.TLS, error) {
	if !asked.GetUseTls() {
		return nil, nil
	}
	dir, err := os.MkdirTemp("", "fairlead-grpc")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	pair := listen.Pair{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	if err := writeCreds(asked, pair.Cert, pair.Key); err != nil {
		return nil, err
	}
	certificates, err := listen.LoadCertificates([]listen.Pair{pair})
	if err != nil {
		return nil, err
	}
	secure := &listen.TLS{Certificates: certificates}
	if cert := asked.GetClientTlsCert(); len(cert) > 0 {
		secure.ClientCAs, secure.RequireClient = x509.NewCertPool(), true
		if !secure.ClientCAs.AppendCertsFromPEM(cert) {
			return nil, errors.New("client_tls_cert is no certificate")
		}
	}
	return secure, nil
}

// writeCreds puts what the suite has for the server into files.
func writeCreds(asked *conformancev1.ServerCompatRequest, cert, key string) error {
	return errors.Join(os.WriteFile(cert, asked.GetServerCreds().GetCert(), 0o600), os.WriteFile(key, asked.GetServerCreds().GetKey(), 0o600))
}
