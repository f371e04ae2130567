package sse_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/fairlead-edge/fairlead/internal/memnet"
)

// serve serves h over HTTP/1.1 in memory.
func serve(t *testing.T, h http.HandlerFunc) *memnet.Server {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return serveProtocols(t, h, protocols)
}

func serveProtocols(t *testing.T, h http.HandlerFunc, protocols *http.Protocols) *memnet.Server {
	t.Helper()
	return memnet.Serve(t,
		&http.Server{Handler: h, WriteTimeout: time.Second, ReadHeaderTimeout: time.Second, Protocols: protocols},
		&http.Transport{Protocols: protocols})
}
