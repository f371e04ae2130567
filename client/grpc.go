package client

import (
	"context"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"connectrpc.com/connect"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/internal/wire"
	fairleadv1 "github.com/fairlead-edge/fairlead/proto/fairlead/v1"
	"github.com/fairlead-edge/fairlead/proto/fairlead/v1/fairleadv1connect"
)

// topicPrefix comes before a topic's name in the path of its URL.
const topicPrefix = "/topics/"

// grpcSession is one call of fairlead.v1.Topics/Subscribe.
type grpcSession struct {
	reader *reader
	stream *connect.ServerStreamForClient[fairleadv1.SubscribeResponse]
	cancel context.CancelCauseFunc
	watch  *watch
	// unseen says that next has not looked yet at what was received first, and live
	// that it was a message, and not the stream's end.
	unseen, live bool
}

// openGRPC begins a call, by whose first message the server proves itself and says
// where the reader stands.
func (r *reader) openGRPC(ctx context.Context, cancel context.CancelCauseFunc) (session, error) {
	name, err := topicName(r.url)
	if err != nil {
		return nil, err
	}
	w := newWatch(r.cfg.IdleTimeout, cancel)
	call := connect.NewRequest(&fairleadv1.SubscribeRequest{
		Topic: name, After: string(r.start()), FailOnGap: r.url.Query().Get("gap") == "fail",
	})
	maps.Copy(call.Header(), r.header)
	over := *r.cfg.HTTP
	over.Transport = forCalls(over.Transport, r.url.Scheme)
	topics := fairleadv1connect.NewTopicsClient(&grpcHTTP{&over, w}, r.url.Scheme+"://"+r.url.Host,
		connect.WithGRPC(), connect.WithReadMaxBytes(int(r.cfg.MaxEvent)))
	stream, err := topics.Subscribe(ctx, call)
	if err != nil {
		w.stop()
		return nil, err
	}
	s := &grpcSession{reader: r, stream: stream, cancel: cancel, watch: w, unseen: true}
	if s.live = stream.Receive(); !s.live {
		if _, err := s.ended(); err != nil {
			w.stop()
			_ = stream.Close()
			return nil, err
		}
	}
	return s, nil
}

// topicName returns the name of the topic at u. Where a server has its topics under
// another path, a call still goes by their names alone.
func topicName(u *url.URL) (string, error) {
	name, ok := strings.CutPrefix(u.Path, topicPrefix)
	if !ok {
		return "", fairlead.Errorf(fairlead.InvalidArgument, "over gRPC the URL of a topic is its server's and %sNAME, whatever the path over HTTP; %q is not", topicPrefix, u.Path)
	}
	return name, fairlead.CheckTopicName(name)
}

// forCalls returns a transport like the one given that speaks HTTP/2, without TLS by
// prior knowledge (RFC 9113 §3.3), on a connection for each request: one that turned
// out to be dead is not used again.
func forCalls(like http.RoundTripper, scheme string) http.RoundTripper {
	if like == nil {
		like = http.DefaultTransport
	}
	t, ok := like.(*http.Transport)
	if !ok {
		return like
	}
	t = t.Clone()
	t.DisableKeepAlives = true
	t.Protocols = new(http.Protocols)
	t.Protocols.SetHTTP2(true)
	// With TLS a server without HTTP/2 answers all the same, and so can be told.
	t.Protocols.SetHTTP1(scheme == "https")
	t.Protocols.SetUnencryptedHTTP2(scheme == "http")
	return t
}

// grpcHTTP makes the request of a call, and watches what is read of its answer.
type grpcHTTP struct {
	client *http.Client
	watch  *watch
}

// Do returns the answer if it is one of gRPC.
func (h *grpcHTTP) Do(req *http.Request) (*http.Response, error) {
	resp, err := h.client.Do(req) //nolint:gosec // to where the caller of Subscribe said
	switch {
	case err != nil && strings.Contains(err.Error(), "looked like an HTTP/1.1 header"): // net/http has no type for it
		return nil, fairlead.Errorf(fairlead.NotAcceptable, "the server does not speak HTTP/2 without TLS there, and so has no topics over gRPC; use another transport")
	case err != nil:
		return nil, err
	}
	resp.Body = watchedBody{resp.Body, h.watch}
	if err := admitGRPC(resp); err != nil {
		resp.Body.Close()
		return nil, err
	}
	return resp, nil
}

// admitGRPC checks that an answer is one of gRPC, whose status comes at its end.
func admitGRPC(resp *http.Response) error {
	switch resp.StatusCode {
	case http.StatusOK:
		kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
		if kind == "application/grpc" || strings.HasPrefix(kind, "application/grpc+") {
			return nil
		}
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotAcceptable, http.StatusUnsupportedMediaType, http.StatusNotImplemented:
	default:
		return responseError(resp)
	}
	return fairlead.Errorf(fairlead.NotAcceptable, "the server answers a call with %s and %q: it has no topics over gRPC; use another transport",
		resp.Status, resp.Header.Get("Content-Type"))
}

func (s *grpcSession) next() (Item, error) {
	for {
		if !s.unseen {
			s.live = s.stream.Receive()
		}
		s.unseen = false
		if !s.live {
			return s.ended()
		}
		if item, known := s.item(s.stream.Msg()); known {
			return item, nil
		}
	}
}

// item turns a message into an item; one with a cursor alone is a sign of life, and
// a place to go on from.
func (s *grpcSession) item(m *fairleadv1.SubscribeResponse) (item Item, known bool) {
	item = Item{Cursor: fairlead.Cursor(m.GetCursor()), Skipped: m.GetSkipped()}
	switch of := m.GetItem().(type) {
	case *fairleadv1.SubscribeResponse_Event:
		item.Event = wire.FromProto(of.Event)
		return item, true
	case *fairleadv1.SubscribeResponse_Gap:
		g := of.Gap
		at := item.Cursor
		item = gapItem(&wire.Gap{After: fairlead.Cursor(g.GetAfter()), Earliest: fairlead.Cursor(g.GetEarliest()), Skipped: g.Skipped})
		item.Cursor = at
		return item, true
	}
	if item.Cursor != "" {
		s.reader.move(item.Cursor)
	}
	return Item{}, false
}

func (s *grpcSession) close() {
	s.cancel(nil) // lest closing wait for a connection that does not move
	s.watch.stop()
	_ = s.stream.Close()
}
