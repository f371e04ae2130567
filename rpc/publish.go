package rpc

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"connectrpc.com/connect"

	"github.com/fairlead-edge/fairlead"
	"github.com/fairlead-edge/fairlead/deliver"
	fairleadv1 "github.com/fairlead-edge/fairlead/proto/fairlead/v1"
	"github.com/fairlead-edge/fairlead/topic"
)

// service is what connect-go calls.
type service struct {
	cfg    *Config
	health *health
}

// Publish appends to a topic.
func (s *service) Publish(ctx context.Context, req *connect.Request[fairleadv1.PublishRequest]) (*connect.Response[fairleadv1.PublishResponse], error) {
	b, err := deliver.BatchOf(req.Msg)
	var res topic.Result
	if err == nil {
		trace(b.Events, req.Header())
		res, err = s.cfg.Readers.Publish(ctx, req.Header(), req.Msg.GetTopic(), b)
	}
	if err != nil {
		return nil, toStatus(err, map[string]string{"topic": req.Msg.GetTopic()})
	}
	return connect.NewResponse(&fairleadv1.PublishResponse{
		First: string(res.First), Last: string(res.Last), Count: uint32(res.Count), Repeated: res.Repeated, //nolint:gosec // at most a batch
	}), nil
}

// trace gives the events that have no trace context the call's.
func trace(events []fairlead.Event, header http.Header) {
	parent := header.Get("Traceparent")
	for i := range events {
		if events[i].Traceparent == "" {
			events[i].Traceparent = parent
		}
	}
}

// Upload appends to a topic what comes, as it comes.
func (s *service) Upload(ctx context.Context, stream *connect.ClientStream[fairleadv1.UploadRequest]) (*connect.Response[fairleadv1.UploadResponse], error) {
	ctx, stop := s.bounded(ctx)
	defer stop()
	u := &upload{}
	for {
		req, err := receive(stream)
		switch {
		case errors.Is(err, io.EOF):
			return connect.NewResponse(&u.sum), nil
		case err == nil:
			err = s.append(ctx, stream.RequestHeader(), u, req)
		case ctx.Err() != nil:
			err = context.Cause(ctx) // why reading ended
		default:
			err = lineOf(ctx).unheard(err)
		}
		if err != nil {
			return nil, u.failed(err)
		}
	}
}

// bounded returns the context of a call that receives for as long as it may: until
// its deadline, its age, or the end of the service, which is its cause. Then receiving
// ends, too.
func (s *service) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	line := lineOf(ctx)
	line.endless()
	ctx, cancel := context.WithCancelCause(ctx)
	free := context.CancelFunc(func() {})
	if old := s.cfg.oldAt(time.Now()); !old.IsZero() {
		ctx, free = context.WithDeadlineCause(ctx, old, errTooOld())
	}
	serving, changed := s.health.now()
	if !serving {
		cancel(errLeaving())
	}
	left := context.AfterFunc(changed, func() { cancel(errLeaving()) })
	deaf := context.AfterFunc(ctx, line.deafen)
	return ctx, func() { deaf(); left(); free(); cancel(nil) }
}

// append appends one message's event.
func (s *service) append(ctx context.Context, header http.Header, u *upload, req *fairleadv1.UploadRequest) error {
	b, err := u.batchOf(req)
	if err != nil {
		return err
	}
	trace(b.Events, header)
	res, err := s.cfg.Readers.Publish(ctx, header, u.topic, b)
	if err == nil {
		u.stored(res)
	}
	return err
}

// receive returns the next message, or [io.EOF] at the end of them.
func receive(stream *connect.ClientStream[fairleadv1.UploadRequest]) (*fairleadv1.UploadRequest, error) {
	if stream.Receive() {
		return stream.Msg(), nil
	}
	if err := stream.Err(); err != nil {
		return nil, err
	}
	return nil, io.EOF
}

// upload is what a call has appended.
type upload struct {
	topic string
	sum   fairleadv1.UploadResponse
}

func (u *upload) batchOf(req *fairleadv1.UploadRequest) (topic.Batch, error) {
	switch at := req.GetTopic(); {
	case u.topic == "" && at == "":
		return topic.Batch{}, fairlead.Errorf(fairlead.InvalidArgument, "the first message of an upload names the topic")
	case u.topic == "":
		u.topic = at
	case at != "" && at != u.topic:
		return topic.Batch{}, fairlead.Errorf(fairlead.InvalidArgument, "an upload goes to one topic, and this one to %q: open another for %q", u.topic, at)
	}
	if req.GetEvent() == nil {
		return topic.Batch{}, fairlead.Errorf(fairlead.InvalidArgument, "a message of an upload has an event")
	}
	return deliver.BatchOf(&fairleadv1.PublishRequest{
		Topic: u.topic, Events: []*fairleadv1.Event{req.GetEvent()}, IdempotencyKey: req.GetIdempotencyKey(),
	})
}

func (u *upload) stored(res topic.Result) {
	if u.sum.GetFirst() == "" {
		u.sum.First = string(res.First)
	}
	u.sum.Last = string(res.Last)
	if res.Repeated {
		u.sum.Repeated += uint64(res.Count) //nolint:gosec // one
	} else {
		u.sum.Count += uint64(res.Count) //nolint:gosec // one
	}
}

// failed says what was stored before.
func (u *upload) failed(err error) error {
	facts := map[string]string{"topic": u.topic, "stored": strconv.FormatUint(u.sum.GetCount()+u.sum.GetRepeated(), 10)}
	if u.sum.GetLast() != "" {
		facts["cursor"] = u.sum.GetLast()
	}
	return toStatus(err, facts)
}
