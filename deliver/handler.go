package deliver

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/fanout"
	"github.com/fairlead-edge/fairlead/websocket"
)

// Handler serves the resource. It is safe for concurrent use. It must see
// request paths as they came: an http.ServeMux in front of it would redirect
// "//" and ".." where the handler answers 400.
type Handler struct {
	cfg      Config
	origins  origins
	sessions registry

	publishers atomic.Pointer[publishers]

	streams fanout.Options // of event streams
	sockets fanout.Options

	leaving context.Context    // ends when Drain begins
	leave   context.CancelFunc // ends it
}

// New returns a Handler. It has nothing to be closed; see [Handler.Drain].
func New(cfg Config) *Handler {
	cfg = cfg.withDefaults()
	h := &Handler{cfg: cfg, origins: newOrigins(cfg.Origins)}
	h.streams = fanout.Options{Heartbeat: cfg.Heartbeat, WriteTimeout: cfg.WriteTimeout}
	h.sockets = h.streams
	h.sockets.Silence = (missedBeats + 1) * cfg.Heartbeat
	h.sockets.Burst = int(max(4<<20, 2*cfg.MaxMessage)) // for a message may come in many parts
	h.LetPublish(cfg.AllowPublish, cfg.PublishToken)
	h.leaving, h.leave = context.WithCancel(context.Background())
	return h
}

// The methods of both kinds of resource, as Allow lists them.
const (
	topicMethods = "GET, HEAD, POST, DELETE, OPTIONS"
	setMethods   = "GET, OPTIONS"
)

// ServeHTTP answers a request for the resource; any other path is 404.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	sent := newBody(w, r, h.cfg.WriteTimeout)
	if !sent.whole && !websocket.IsHandshake(r) { // whose body is the client's messages
		r = r.WithContext(r.Context()) // a copy: the caller's keeps its body
		r.Body = sent
	}
	if err := h.serve(w, r); err != nil {
		sent.refuse(w, r)
		answer(w, r, err)
	}
}

// serve returns an error when nothing has been answered.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request) error {
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("Vary", "Accept, Prefer")
	header.Set("X-Content-Type-Options", "nosniff")
	name, ok := strings.CutPrefix(r.URL.Path, h.cfg.Prefix)
	if !ok || (name != "" && name[0] != '/') {
		return fairlead.Errorf(fairlead.NotFound, "topics are at %s/NAME", h.cfg.Prefix)
	}
	if err := h.origins.admit(header, r); err != nil {
		return err
	}
	if name == "" {
		return h.serveSet(w, r)
	}
	name = name[1:]
	if err := fairlead.CheckTopicName(name); err != nil {
		return err
	}
	switch method(r) {
	case http.MethodGet:
		return h.read(w, r, name)
	case http.MethodHead:
		return h.describe(w, name)
	case http.MethodPost:
		return h.publish(w, r, name)
	case http.MethodDelete:
		return h.remove(w, r, name)
	case http.MethodOptions:
		options(w, r, topicMethods)
		return nil
	}
	return notAllowed(header, topicMethods)
}

// method is the request's method, but GET for every WebSocket handshake: on
// HTTP/2 and HTTP/3 it is a CONNECT.
func method(r *http.Request) string {
	if websocket.IsHandshake(r) {
		return http.MethodGet
	}
	return r.Method
}

// read serves one topic over the transport that the request asks for.
func (h *Handler) read(w http.ResponseWriter, r *http.Request, name string) error {
	q, err := h.parseQuery(r)
	if err != nil {
		return err
	}
	q.topics = []string{name}
	if websocket.IsHandshake(r) {
		return h.serveOne(w, r, q)
	}
	switch kind := negotiate(r.Header.Values("Accept")); kind {
	case "":
		return fairlead.Errorf(fairlead.NotAcceptable, "a topic is served as text/event-stream, as application/json, or over a WebSocket")
	case mediaJSON:
		return h.servePage(w, r, q)
	default:
		return h.serveSSE(w, r, q)
	}
}

// serveSet serves several topics on one connection.
func (h *Handler) serveSet(w http.ResponseWriter, r *http.Request) error {
	switch method(r) {
	case http.MethodGet:
	case http.MethodOptions:
		options(w, r, setMethods)
		return nil
	default:
		return notAllowed(w.Header(), setMethods)
	}
	q, err := h.parseQuery(r)
	if err != nil {
		return err
	}
	switch {
	case websocket.IsHandshake(r):
		return h.serveMany(w, r)
	case len(q.topics) == 0:
		return fairlead.Errorf(fairlead.InvalidArgument,
			"name topics: GET %[1]s?topic=A&topic=B for one event stream of several, %[1]s/NAME for one topic, or open a WebSocket with the subprotocol %[2]s",
			h.cfg.Prefix, protocolJSON)
	case negotiate(r.Header.Values("Accept")) != mediaSSE:
		return fairlead.Errorf(fairlead.NotAcceptable, "several topics are served as text/event-stream only; pages are of one topic: %s/NAME", h.cfg.Prefix)
	}
	return h.serveSSE(w, r, q)
}

// describe answers HEAD.
func (h *Handler) describe(w http.ResponseWriter, name string) error {
	l, err := h.cfg.Topics.Get(name)
	if err != nil {
		return err
	}
	b := l.Bounds()
	header := w.Header()
	header.Set("Fairlead-Earliest", string(b.Earliest))
	header.Set("Fairlead-Latest", string(b.Latest))
	closed := "?0"
	if b.Closed {
		closed = "?1"
	}
	header.Set("Fairlead-Closed", closed)
	w.WriteHeader(http.StatusOK)
	return nil
}

func (h *Handler) remove(w http.ResponseWriter, r *http.Request, name string) error {
	if err := h.mayPublish(w.Header(), r.Header.Get("Authorization")); err != nil {
		return err
	}
	if hasBody(r) {
		return fairlead.Errorf(fairlead.InvalidArgument, "a DELETE of a topic has no body")
	}
	if err := h.cfg.Topics.Remove(name); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func notAllowed(header http.Header, allow string) error {
	header.Set("Allow", allow)
	return fairlead.Errorf(fairlead.MethodNotAllowed, "use one of %s", allow)
}
