package upstream

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// askGRPC calls grpc.health.v1.Health/Check, as the gRPC Health Checking
// Protocol says: a frame of five bytes and a protobuf message, over HTTP/2.
func (c *checker) askGRPC(ctx context.Context, conn net.Conn) error {
	if over, ok := conn.(*tls.Conn); ok && over.ConnectionState().NegotiatedProtocol != "h2" {
		return errors.New("the server does not offer HTTP/2 (ALPN h2), which gRPC needs")
	}
	req := &http.Request{
		Method: http.MethodPost,
		URL:    &url.URL{Path: "/grpc.health.v1.Health/Check"},
		Header: http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}},
		Body:   io.NopCloser(bytes.NewReader(healthRequest(c.cfg.Service))),
	}
	return c.exchange(req.WithContext(ctx), conn, func(res *http.Response) error {
		if t := res.Header.Get("Content-Type"); res.StatusCode != 200 || !strings.HasPrefix(t, "application/grpc") {
			return fmt.Errorf("the answer is not gRPC: %d %s%s", res.StatusCode, http.StatusText(res.StatusCode), mediaType(t))
		}
		body, err := io.ReadAll(io.LimitReader(res.Body, maxHealthBody+1)) // to its end, after which there are trailers
		if err != nil {
			return plainError{err}
		}
		trailer := res.Trailer
		if res.Header.Get("Grpc-Status") != "" { // no body, so that header and trailer are one
			trailer = res.Header
		}
		switch status := trailer.Get("Grpc-Status"); status {
		case "0":
			return servingStatus(body)
		case "5":
			return fmt.Errorf("the server does not know the service %q (NOT_FOUND)", c.cfg.Service)
		case "12":
			return errors.New("the server has no health service (UNIMPLEMENTED); register grpc.health.v1.Health there, or check by tcp")
		default:
			if n, err := strconv.ParseUint(status, 10, 8); err == nil {
				return fmt.Errorf("grpc-status %d", n) // its message is for the one who calls
			}
			return errors.New("the answer has no grpc-status that could be read")
		}
	})
}

// mediaType names a Content-Type that is one.
func mediaType(header string) string {
	t, _, err := mime.ParseMediaType(header)
	if err != nil || len(t) > 50 {
		return ""
	}
	return ", " + t
}

// healthRequest returns a framed HealthCheckRequest: field 1, the service.
func healthRequest(service string) []byte {
	var message []byte
	if service != "" {
		message = binary.AppendUvarint([]byte{1<<3 | 2}, uint64(len(service)))
		message = append(message, service...)
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
}

// servingStatus returns nil if body, a framed HealthCheckResponse, says that
// the service serves.
func servingStatus(body []byte) error {
	status, err := parseHealthResponse(body)
	if err != nil {
		return err
	}
	switch status {
	case 0:
		return errors.New("UNKNOWN")
	case 1:
		return nil
	case 2:
		return errors.New("NOT_SERVING")
	case 3:
		return errors.New("SERVICE_UNKNOWN")
	}
	return fmt.Errorf("serving status %d, which has no meaning", status)
}

var errHealthResponse = errors.New("the answer is no HealthCheckResponse")

// parseHealthResponse reads field 1 of the one message in body, 0 if it is
// not there, and passes over all others. It refuses compressed messages, which
// nothing has asked for, and groups.
func parseHealthResponse(body []byte) (status int32, err error) {
	if len(body) < 5 || len(body) > maxHealthBody || body[0] != 0 || int64(binary.BigEndian.Uint32(body[1:])) != int64(len(body)-5) {
		return 0, errHealthResponse
	}
	for m := body[5:]; len(m) > 0; {
		tag, n := binary.Uvarint(m)
		if n <= 0 || tag>>3 == 0 {
			return 0, errHealthResponse
		}
		m = m[n:]
		var size uint64 // of the field's value
		switch tag & 7 {
		case 0:
			v, n := binary.Uvarint(m)
			if n <= 0 {
				return 0, errHealthResponse
			}
			if tag>>3 == 1 {
				status = int32(v) // an enum is an int32; more bits are cut off
			}
			size = uint64(n)
		case 1:
			size = 8
		case 2:
			length, n := binary.Uvarint(m)
			if n <= 0 {
				return 0, errHealthResponse
			}
			m, size = m[n:], length
		case 5:
			size = 4
		default:
			return 0, errHealthResponse
		}
		if size > uint64(len(m)) {
			return 0, errHealthResponse
		}
		m = m[size:]
	}
	return status, nil
}
