package capture

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// While a process hands over to another, each has streams that clients ask the
// other for. Their stores are peers: before a store gives up, or lets a request
// go upstream, it asks the others.
//
// A request for a stream's own URL goes to the peer as it is. Of any other only
// hashes go there, of its owner, its target, its key and its body, and the
// cursor it brings: the peer looks up what has them.
const (
	// peerHeader says what is asked, and in an answer what the peer knows.
	peerHeader  = "Fairlead-Peer"
	peerOwnURL  = "stream"                    // asked: the URL of a stream
	peerRequest = "request"                   // asked: a repeat or a reconnect, followed by a question in JSON
	peerAnswer  = "answer"                    // this is the answer for the client
	peerForward = "forward"                   // it is for the upstream, with this Last-Event-ID
	peerUnknown = "unknown"                   // nothing is known of it
	peerPath    = "/ask"                      // of a question
	certHeader  = peerHeader + "-Certificate" // of the client, in base64
)

// question is what is asked of a request that may be known elsewhere.
type question struct {
	Method string `json:"method"`
	Owner  string `json:"owner"` // hashes, in hexadecimal
	Target string `json:"target"`
	Key    string `json:"key,omitempty"`
	Body   string `json:"body,omitempty"`
	Final  bool   `json:"final,omitempty"` // see Config.EndFinal
}

// AddPeer lets the store ask another about streams, repeats and reconnects that
// it does not know itself, until [Store.RemovePeer]. p sends to the other
// store's [Store.PeerHandler], whatever the URL's host, over a way that nobody
// else can use: what comes there is believed. When it returns an error, the
// other is taken to know nothing.
func (st *Store) AddPeer(p http.RoundTripper) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.peers = append(slices.Clip(st.peers), p)
}

// RemovePeer ends what AddPeer began.
func (st *Store) RemovePeer(p http.RoundTripper) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.peers = slices.DeleteFunc(slices.Clone(st.peers), func(other http.RoundTripper) bool { return other == p })
}

func (st *Store) otherStores() []http.RoundTripper {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.peers
}

// relay answers a request for a stream's own URL from a peer; false: none knows
// the stream.
func (st *Store) relay(w http.ResponseWriter, r *http.Request) bool {
	for _, p := range st.otherStores() {
		out := r.Clone(r.Context())
		out.RequestURI, out.Body, out.ContentLength = "", nil, 0
		out.URL.Scheme, out.URL.Host = "http", "peer"
		for _, name := range []string{"Connection", "Upgrade", "Te", "Expect", "Content-Length", "Transfer-Encoding", certHeader} {
			out.Header.Del(name)
		}
		out.Header.Set(peerHeader, peerOwnURL)
		if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
			out.Header.Set(certHeader, base64.StdEncoding.EncodeToString(r.TLS.PeerCertificates[0].Raw))
		}
		resp, err := p.RoundTrip(out)
		if err != nil {
			continue // it is gone, and what it knew too
		}
		known := resp.Header.Get(peerHeader) == peerAnswer
		if known {
			passOn(w, resp)
		}
		_ = resp.Body.Close()
		if known {
			return true
		}
	}
	return false
}

// elsewhere asks the peers about a request that a route was sent. The response
// is for the client. Without one the request goes upstream: if known, with the
// last event id that is then in out, and in s.base.
func (t *transport) elsewhere(req, out *http.Request, s *stream) (resp *http.Response, known bool, err error) {
	id, _, ours := parseCursor(req.Header.Get("Last-Event-ID"))
	foreign := ours && lifeOf(id) != t.store.life
	keyed := req.Header.Get("Idempotency-Key") != "" && s.bodyKept
	peers := t.store.otherStores()
	if len(peers) == 0 || !foreign && !keyed {
		return nil, false, nil
	}
	q := question{Method: req.Method, Owner: hex.EncodeToString(s.owner[:]), Target: hex.EncodeToString(s.target[:]), Final: t.cfg.EndFinal}
	if keyed {
		q.Key, q.Body = hex.EncodeToString(s.key[:]), hex.EncodeToString(s.body[:])
	}
	text, err := json.Marshal(q)
	if err != nil {
		panic(err) // strings always marshal
	}
	for _, p := range peers {
		ask, err := http.NewRequestWithContext(req.Context(), http.MethodPost, "http://peer"+peerPath, bytes.NewReader(text))
		if err != nil {
			panic(err) // the URL is good
		}
		ask.Header.Set(peerHeader, peerRequest)
		// What its answer depends on beside the question.
		for _, name := range []string{"Accept", "Cache-Control", "Last-Event-Id"} {
			ask.Header[name] = req.Header[name]
		}
		resp, err := p.RoundTrip(ask)
		switch {
		case err != nil && req.Context().Err() != nil:
			return nil, false, fmt.Errorf("capture: ask elsewhere: %w", err)
		case err != nil:
			continue // it is gone, and what it knew too
		}
		switch resp.Header.Get(peerHeader) {
		case peerAnswer:
			resp.Header.Del(peerHeader)
			resp.Request = req
			return resp, true, nil
		case peerForward:
			_ = resp.Body.Close()
			out.Header.Del("Last-Event-ID")
			if s.base = resp.Header.Get("Last-Event-ID"); s.base != "" {
				out.Header.Set("Last-Event-ID", s.base)
			}
			return nil, true, nil
		}
		_ = resp.Body.Close()
	}
	return nil, false, nil
}

// PeerHandler answers the questions of stores that have this one as a peer. It
// is not for clients: whoever reaches it is believed.
func (st *Store) PeerHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked := r.Header.Get(peerHeader)
		r.Header.Del(peerHeader)
		switch {
		case asked == peerRequest && r.URL.Path == peerPath:
			st.answerQuestion(w, r)
		case asked == peerOwnURL && st.knows(r):
			w.Header().Set(peerHeader, peerAnswer)
			st.serveOwn(w, withCertificate(r))
		default:
			w.Header().Set(peerHeader, peerUnknown)
			w.WriteHeader(http.StatusNoContent)
		}
	})
}

// knows reports whether the answer to a request for a stream's URL is this
// store's to give, be it a refusal.
func (st *Store) knows(r *http.Request) bool {
	if id, ok := strings.CutPrefix(r.URL.Path, Prefix+"/"); ok && id != "" {
		return validID(id) && lifeOf(id) == st.life
	}
	return len(st.called(r, r.URL.Query().Get("key"))) > 0
}

// maxQuestion bounds a question, in bytes: a few hashes.
const maxQuestion = 4 << 10

func (st *Store) answerQuestion(w http.ResponseWriter, r *http.Request) {
	var q question
	s := &stream{store: st}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxQuestion)).Decode(&q); err != nil || s.hashes(&q) != nil {
		http.Error(w, "not a question", http.StatusBadRequest)
		return
	}
	r.Method = q.Method // an EventSource is told by it
	resp, forward, err := st.recall(r, s, q.Final)
	switch {
	case err != nil:
		panic(http.ErrAbortHandler)
	case resp != nil:
		defer resp.Body.Close()
		w.Header().Set(peerHeader, peerAnswer)
		passOn(w, resp)
		return
	case forward:
		w.Header().Set(peerHeader, peerForward)
		if s.base != "" {
			w.Header().Set("Last-Event-ID", s.base)
		}
	default:
		w.Header().Set(peerHeader, peerUnknown)
	}
	w.WriteHeader(http.StatusNoContent)
}

// hashes takes over what the question says of the request.
func (s *stream) hashes(q *question) error {
	s.keyed = q.Key != ""
	var errs []error
	for _, h := range []struct {
		to   []byte
		text string
	}{{s.owner[:], q.Owner}, {s.target[:], q.Target}, {s.key[:], q.Key}, {s.body[:], q.Body}} {
		if h.text == "" {
			continue
		}
		if len(h.text) != 2*len(h.to) {
			return errors.New("capture: a hash of another length")
		}
		_, err := hex.Decode(h.to, []byte(h.text))
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// recall answers a request that another store was sent and that s describes, if
// it is a repeat or a reconnect of something here; forward: it is a reconnect
// after the end, for the upstream with the last event id in s.base.
func (st *Store) recall(r *http.Request, s *stream, final bool) (resp *http.Response, forward bool, err error) {
	if s.keyed {
		st.mu.Lock()
		earlier, refused := st.earlier(s)
		st.mu.Unlock()
		if refused != nil {
			return refusal(r, refused), false, nil
		}
		if earlier != nil {
			if resp, err = earlier.attach(r); resp != nil || err != nil {
				return resp, false, err
			}
		}
	}
	id, _, ok := parseCursor(r.Header.Get("Last-Event-ID"))
	if !ok || lifeOf(id) != st.life {
		return nil, false, nil
	}
	out := &http.Request{Header: make(http.Header)}
	resp, err = (&transport{store: st, cfg: &Config{EndFinal: final}}).reconnect(r, out, s)
	return resp, true, err
}

// withCertificate gives the request the client's certificate that came beside
// it, for the owners that are told by it.
func withCertificate(r *http.Request) *http.Request {
	text := r.Header.Get(certHeader)
	if text == "" {
		return r
	}
	r.Header.Del(certHeader)
	if raw, err := base64.StdEncoding.DecodeString(text); err == nil {
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{Raw: raw}}}
	}
	return r
}

// passOn sends a response on as it comes. It panics with
// [http.ErrAbortHandler] when that breaks off, so that nobody takes it for the
// whole.
func passOn(w http.ResponseWriter, resp *http.Response) {
	h := w.Header()
	for name, values := range resp.Header {
		if name != peerHeader && name != "Date" && name != "Connection" {
			h[name] = values
		}
	}
	for name := range resp.Trailer {
		h.Add("Trailer", name)
	}
	rc := http.NewResponseController(w)
	w.WriteHeader(resp.StatusCode)
	if resp.ContentLength != 0 && rc.Flush() != nil {
		panic(http.ErrAbortHandler)
	}
	room := make([]byte, 32<<10)
	for {
		n, err := resp.Body.Read(room)
		if n > 0 {
			_ = rc.SetWriteDeadline(time.Now().Add(writeTimeout))
			if _, err := w.Write(room[:n]); err != nil || rc.Flush() != nil {
				panic(http.ErrAbortHandler)
			}
			_ = rc.SetWriteDeadline(time.Time{})
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			panic(http.ErrAbortHandler)
		}
	}
	maps.Copy(h, resp.Trailer)
}
