package capture

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/fairlead-edge/fairlead"
)

// maxKeptBody is the largest request body that is kept, in bytes. A request
// with a larger one cannot be attached to by its key.
const maxKeptBody = 1 << 20

// keepBody reads the request's body if its content decides something, and
// gives it to out.
func (t *transport) keepBody(req, out *http.Request, s *stream) error {
	wanted := req.Header.Get("Idempotency-Key") != "" || t.cfg.CommitAfter > 0 && strings.HasSuffix(mediaType(req.Header), "json")
	if !wanted {
		return nil
	}
	if req.Body == nil || req.Body == http.NoBody {
		s.bodyKept = true
		return nil
	}
	if req.ContentLength > maxKeptBody {
		return nil
	}
	kept, err := io.ReadAll(io.LimitReader(req.Body, maxKeptBody+1))
	if err != nil {
		return err
	}
	if len(kept) > maxKeptBody {
		out.Body = &rejoined{io.MultiReader(bytes.NewReader(kept), req.Body), req.Body}
		return nil
	}
	s.request, s.bodyKept = &keptBody{bytes: kept}, true
	out.Body = &rejoined{s.request.reader(), req.Body}
	out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(s.request.reader()), nil }
	return nil
}

// keptBody is a request's body while it may have to be sent. net/http holds on
// to a request as long as its response lasts, but not to these bytes.
type keptBody struct {
	mu    sync.Mutex
	bytes []byte
	sent  bool // a reader came to its end
	over  bool // nobody will begin anew
}

// forget lets the bytes go as soon as they have been sent.
func (k *keptBody) forget() {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.over = true
	if k.sent {
		k.bytes = nil
	}
}

// content returns the bytes.
func (k *keptBody) content() []byte {
	if k == nil {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.bytes
}

func (k *keptBody) reader() io.Reader { return &keptReader{body: k} }

type keptReader struct {
	body *keptBody
	at   int
}

// Read implements io.Reader.
func (r *keptReader) Read(p []byte) (int, error) {
	k := r.body
	k.mu.Lock()
	defer k.mu.Unlock()
	if r.at >= len(k.bytes) {
		k.sent = true
		if k.over {
			k.bytes = nil
		}
		return 0, io.EOF
	}
	n := copy(p, k.bytes[r.at:])
	r.at += n
	return n, nil
}

// rejoined is a body of which a part was read.
type rejoined struct {
	io.Reader
	io.Closer
}

// asksForStream reports whether a JSON body has "stream": true at its top, as
// the APIs of language models have it.
func asksForStream(body []byte) bool {
	var asked struct {
		Stream bool `json:"stream"`
	}
	return len(body) > 0 && json.Unmarshal(body, &asked) == nil && asked.Stream
}

// targetOf names what a request is for.
func targetOf(r *http.Request) [sha256.Size]byte {
	h := sha256.New()
	writeStrings(h, r.Method, r.URL.Scheme, r.URL.Host, r.Host, r.URL.RequestURI())
	return [sha256.Size]byte(h.Sum(nil))
}

// claimKey returns the earlier call with the key of s, to attach to, or gives
// the key to s. The error is KeyReused.
func (st *Store) claimKey(s *stream) (*stream, *fairlead.Error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	earlier, err := st.earlier(s)
	if earlier == nil && err == nil {
		st.keys[s.key] = append(st.keys[s.key], s)
	}
	return earlier, err
}

// earlier returns the call with the key of s, if it can be attached to. The
// error is KeyReused. st.mu is held.
func (st *Store) earlier(s *stream) (*stream, *fairlead.Error) {
	st.sweep(time.Now())
	for _, earlier := range st.keys[s.key] {
		if earlier.target != s.target {
			continue
		}
		if earlier.body != s.body {
			return nil, fairlead.Errorf(fairlead.KeyReused, "this Idempotency-Key was used with another body; use a new key for a new request")
		}
		p, _ := earlier.now()
		switch {
		case p == passed: // about to be forgotten
			continue
		case p == faulted: // told once more; the next call is a new one
			st.unkey(earlier)
		case p != pending && !earlier.whole():
			st.unkey(earlier)
			return nil, nil
		}
		return earlier, nil
	}
	return nil, nil
}

// whole reports whether the log has everything from its beginning.
func (s *stream) whole() bool {
	earliest, _ := s.bounds()
	return earliest <= 1
}

// attach returns the response of an earlier call from its beginning, or, for a
// request with a cursor of it, from there; nil: it has none to be replayed.
func (s *stream) attach(req *http.Request) (*http.Response, error) {
	s.enter()
	select {
	case <-s.ready:
	case <-req.Context().Done():
		s.exit()
		return nil, fmt.Errorf("capture: await the upstream: %w", context.Cause(req.Context()))
	case <-s.ctx.Done():
		select {
		case <-s.ready:
		default: // it was stopped, and its transport takes its time
			s.exit()
			return nil, fmt.Errorf("capture: await the upstream: %w", context.Cause(s.ctx))
		}
	}
	s.mu.Lock()
	p, failure := s.phase, s.failure
	s.mu.Unlock()
	if p == passed {
		s.exit()
		return nil, failure
	}
	closeBody(req)
	s.store.count.attached.Add(1)
	after := uint64(0)
	if id, seq, ok := parseCursor(req.Header.Get("Last-Event-ID")); ok && id == s.id {
		_, latest := s.bounds()
		after = min(seq, latest) // the end and what lies past it repeat the end
	}
	return s.response(req, after)
}
