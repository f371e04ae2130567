package client

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/fairlead-edge/fairlead"
)

// recogniseWithin bounds how long a stream's URL may take to answer a HEAD:
// many that serve events do not know what to make of one.
const recogniseWithin = 5 * time.Second

// atLatest reports whether the subscription begins after the newest event.
// Where that is must be known beforehand: what is published between a
// connection that breaks and the next one would be missed.
func (r *reader) atLatest() bool {
	at := r.start()
	return !r.placed && (at == "" || at == fairlead.Latest)
}

// locate learns where the topic's newest event is, when a WebSocket begins
// there: it does not say so before its first event.
func (r *reader) locate(ctx context.Context) error {
	if !r.atLatest() {
		return nil
	}
	about, err := r.head(ctx)
	if err != nil {
		return err
	}
	// Whatever else this answers, the handshake will say it in words.
	if about.latest != "" {
		r.move(about.latest)
	}
	return nil
}

// recognise asks whether the URL of an event stream is a topic's, and if so has
// its events sent as envelopes, which alone carry all of an event, from where
// the topic is now. Whatever keeps it from knowing, the stream is read as any
// other; once one was, or a server has answered, it is not asked again.
func (r *reader) recognise(ctx context.Context) {
	if r.recognised || r.url.Query().Has("format") || strings.Contains(r.url.Path, streams) {
		return
	}
	asking, cancel := context.WithTimeout(ctx, recogniseWithin)
	defer cancel()
	about, err := r.head(asking)
	if err != nil {
		r.recognised = asking.Err() != nil // it listens, and will not answer the next one either
		return
	}
	r.recognised = about.status < http.StatusInternalServerError
	if about.latest == "" || strings.Contains(about.path, streams) {
		return
	}
	if r.atLatest() {
		r.move(about.latest)
	}
	r.url = with(r.url, map[string]string{"format": "envelope"})
}

// description is what a HEAD tells.
type description struct {
	status int
	path   string          // after redirects
	latest fairlead.Cursor // of the newest event; empty if it is no topic's
}

func (r *reader) head(ctx context.Context) (description, error) {
	req, err := r.request(ctx, r.url, "application/json")
	if err != nil {
		return description{}, err
	}
	req.Method = http.MethodHead
	resp, err := r.cfg.HTTP.Do(req)
	if err != nil {
		return description{}, err
	}
	resp.Body.Close()
	about := description{status: resp.StatusCode, path: resp.Request.URL.Path}
	if about.status == http.StatusOK {
		about.latest = fairlead.Cursor(resp.Header.Get("Fairlead-Latest"))
	}
	return about, nil
}
