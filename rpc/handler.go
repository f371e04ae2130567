package rpc

import (
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpcreflect"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/deliver"
	"github.com/fairlead-edge/fairlead/proto/fairlead/v1/fairleadv1connect"
)

// Config adjusts a Handler.
type Config struct {
	// Readers has the topics, and everything that holds for who publishes to them or
	// reads them: limits, tokens, origins, sessions. Required.
	Readers *deliver.Handler
	// Interceptors are around each call, the first outermost. Default none.
	Interceptors []connect.Interceptor
	// MaxMessage is the largest message of a client, in bytes, after decompression.
	// Default 4 MiB.
	MaxMessage int
	// Heartbeat is after how much silence a stream gets a message that shows that it
	// lives, give or take a tenth. Default 15 s.
	Heartbeat time.Duration
	// WriteTimeout is how long a stream may stall before it is reset: nothing is taken
	// of what is written, or nothing comes of a request that is one message. Default 30 s.
	WriteTimeout time.Duration
	// MaxAge is how long a stream lasts at most, less up to a tenth, so that those that
	// began together do not end together. Default 0: as long as it likes.
	MaxAge time.Duration
}

// Handler serves fairlead.v1.Topics, and health and reflection for that name. It is
// safe for concurrent use.
type Handler struct {
	cfg     Config
	mux     *http.ServeMux
	health  *health
	errors  *connect.ErrorWriter
	methods map[string][]string // by service

	incoming arrivals
}

// The paths of the services.
const (
	pathTopics     = "/" + fairleadv1connect.TopicsName + "/"
	pathHealth     = "/grpc.health.v1.Health/"
	pathReflection = "/" + grpcreflect.ReflectV1ServiceName + "/"
	pathOldReflect = "/" + grpcreflect.ReflectV1AlphaServiceName + "/"
)

// New returns a Handler. It has nothing to be closed: its streams are the sessions
// of Config.Readers, and end with that one's Drain.
func New(cfg Config) *Handler {
	if cfg.MaxMessage <= 0 {
		cfg.MaxMessage = 4 << 20
	}
	if cfg.Heartbeat <= 0 {
		cfg.Heartbeat = 15 * time.Second
	}
	if cfg.WriteTimeout <= 0 {
		cfg.WriteTimeout = 30 * time.Second
	}
	options := []connect.HandlerOption{
		connect.WithReadMaxBytes(cfg.MaxMessage),
		connect.WithCompressMinBytes(minCoded),
		connect.WithInterceptors(cfg.Interceptors...),
	}
	h := &Handler{cfg: cfg, mux: http.NewServeMux(), health: newHealth(cfg.Heartbeat), methods: methodsOf()}
	h.errors = connect.NewErrorWriter(options...)
	topics := &service{&h.cfg, h.health}
	h.mux.Handle(fairleadv1connect.NewTopicsHandler(topics, options...))
	h.health.register(h.mux, options)
	reflector, options := newReflector(), append(options, connect.WithInterceptors(bounding{topics}))
	h.mux.Handle(grpcreflect.NewHandlerV1(reflector, options...))
	h.mux.Handle(grpcreflect.NewHandlerV1Alpha(reflector, options...))
	return h
}

// minCoded is the smallest message that is compressed, in bytes: a smaller one does
// not get smaller.
const minCoded = 1 << 10

// Serves reports whether the path is one of the services here. Those of health and
// reflection may be another's, too: see [Handler.Own].
func (h *Handler) Serves(path string) bool {
	return strings.HasPrefix(path, pathTopics) || shared(path)
}

// shared reports whether the path is of a service that others have, too.
func shared(path string) bool {
	return strings.HasPrefix(path, pathHealth) || strings.HasPrefix(path, pathReflection) || strings.HasPrefix(path, pathOldReflect)
}

// SetServing says whether health answers that the topics are served, as at first. When
// they are not any more, uploads, watchers of the health and readers of the schema are
// sent away, with the code Unavailable; who publishes or reads topics is not.
func (h *Handler) SetServing(yes bool) { h.health.set(yes) }

// What a web page may send and see beside what is allowed to every page (the Fetch
// standard, CORS protocol).
const (
	allowed = "Content-Type, Authorization, Connect-Protocol-Version, Connect-Timeout-Ms, Connect-Accept-Encoding, Connect-Content-Encoding, " +
		"Grpc-Timeout, Grpc-Accept-Encoding, Grpc-Encoding, X-Grpc-Web, X-User-Agent, Traceparent, Tracestate"
	exposed = "Grpc-Status, Grpc-Message, Grpc-Status-Details-Bin, Grpc-Retry-Pushback-Ms, Connect-Content-Encoding, Grpc-Encoding, " +
		"Fairlead-Cursor, Trailer-Fairlead-Cursor, Retry-After"
)

// ServeHTTP serves a call, or answers the preflight of a web page.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	if err := h.cfg.Readers.Admit(header, r); err != nil {
		h.refuse(w, r, err)
		return
	}
	if header.Get("Access-Control-Allow-Origin") != "" {
		header.Set("Access-Control-Expose-Headers", exposed)
		if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
			header.Set("Access-Control-Allow-Methods", "POST, GET")
			header.Set("Access-Control-Allow-Headers", allowed)
			header.Set("Access-Control-Max-Age", "7200")
			w.WriteHeader(http.StatusNoContent)
			return
		}
	}
	many := manyMessages(r.URL.Path)
	if status, why := h.cannot(r, many); why != "" {
		if r.ProtoMajor < 2 {
			header.Set("Connection", "close") // a client that sends on might wait for ever
		}
		h.unserved(w, r, status, why)
		return
	}
	if publishes(r.URL.Path) { // before any of what is to be published has come
		if err := h.cfg.Readers.MayPublish(r.Header); err != nil {
			h.refuse(w, r, err)
			return
		}
	}
	l, r := h.open(w, r, !many)
	defer l.close()
	h.mux.ServeHTTP(l, r)
}

func publishes(path string) bool {
	return path == fairleadv1connect.TopicsPublishProcedure || path == fairleadv1connect.TopicsUploadProcedure
}

// manyMessages reports whether the client of a call sends more than one.
func manyMessages(path string) bool {
	return path == fairleadv1connect.TopicsSessionProcedure || path == fairleadv1connect.TopicsUploadProcedure ||
		shared(path) && !strings.HasPrefix(path, pathHealth)
}

// refuse answers in the protocol of the call.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if answer(h.errors, w, r, toStatus(err, nil)) {
		return
	}
	e := fairlead.AsError(err)
	http.Error(w, e.Message, e.Code.HTTPStatus())
}
