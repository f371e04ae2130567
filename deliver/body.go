package deliver

import (
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/fairlead-edge/fairlead"
)

// readBody reads a publish's body, up to its limit and while it makes progress.
func (h *Handler) readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if r.ContentLength > h.cfg.MaxBody {
		return nil, h.bodyTooLarge()
	}
	rc := http.NewResponseController(w)
	// A deadline that is left over would end the request later.
	defer func() { _ = rc.SetReadDeadline(time.Time{}) }()
	body, err := io.ReadAll(http.MaxBytesReader(w, &patient{r.Body, rc, h.cfg.WriteTimeout}, h.cfg.MaxBody))
	if err == nil {
		return body, nil
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, h.bodyTooLarge()
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, fairlead.Errorf(fairlead.InvalidArgument, "the body stopped arriving for %s; nothing was stored", h.cfg.WriteTimeout)
	}
	return nil, fairlead.Errorf(fairlead.InvalidArgument, "the body ended before its length; nothing was stored")
}

func (h *Handler) bodyTooLarge() error {
	return fairlead.Errorf(fairlead.TooLarge, "a publish has at most %d bytes", h.cfg.MaxBody)
}

// patient is a body of which each part has its own deadline.
type patient struct {
	io.ReadCloser

	rc    *http.ResponseController
	limit time.Duration
}

func (p *patient) Read(b []byte) (int, error) {
	_ = p.rc.SetReadDeadline(time.Now().Add(p.limit)) // a recorder in a test has none
	return p.ReadCloser.Read(b)
}
